"""The parts of a run as a list with marks and times."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.text import stages
from surgeon_gui.text.stages import Mark, Part, PartView
from surgeon_gui.widgets.controls import (
    RIGHT,
    bold,
    eliding_label,
    line_label,
    show_elided,
)
from surgeon_gui.widgets.dot import Dot, Shape
from surgeon_gui.widgets.layouts import in_grid

_SHAPES = {
    Mark.DONE: (Shape.TICK, "accent"),
    Mark.NOW: (Shape.RING, "accent"),
    Mark.NEXT: (Shape.RING, "border"),
    Mark.BROKEN_OFF: (Shape.CROSS, "muted"),
    Mark.FAILED: (Shape.CROSS, "bad"),
}


class PartList(QWidget):
    """Shows one row per part; rows are made once and reused."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("part_list")
        self.setAccessibleName(tr("Parts of the run"))
        self._rows = [_Row(part) for part in Part]
        parts = in_grid(self, wide=1, below=GAP + GAP // 2)
        for number, row in enumerate(self._rows):
            for column, widget in enumerate((row.dot, row.label, row.time)):
                parts.addWidget(widget, number, column)
        parts.setRowStretch(len(self._rows), 1)

    def show_parts(self, parts: tuple[PartView, ...]) -> None:
        """Show these parts."""
        shown = {each.part: each for each in parts}
        for part, row in zip(Part, self._rows, strict=True):
            row.show_view(shown.get(part))


class _Row:
    def __init__(self, part: Part) -> None:
        self.dot = Dot()
        self.label = eliding_label(f"part_{part.value}_label")
        self.time = line_label(quiet=True, name=f"part_{part.value}_time")
        self.time.setAlignment(RIGHT)
        self._plain = self.label.font()
        self._view: PartView | None = None
        for each in (self.dot, self.label, self.time):
            each.hide()

    def show_view(self, view: PartView | None) -> None:
        if view == self._view:
            return
        self._view = view
        for each in (self.dot, self.label, self.time):
            each.setVisible(view is not None)
        if view is None:
            return
        self.dot.show_shape(*_SHAPES[view.mark])
        self.label.setEnabled(view.mark is not Mark.NEXT)
        # Each time, because another theme takes a font away.
        is_now = view.mark is Mark.NOW
        self.label.setFont(bold(self._plain) if is_now else self._plain)
        show_elided(self.label, stages.label(view), tip=stages.tip(view.part))
        self.label.setAccessibleName(stages.spoken(view))
        self.time.setText(stages.time(view))
