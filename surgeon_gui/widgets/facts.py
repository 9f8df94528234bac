"""A list of names and values."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QSizePolicy, QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.widgets.controls import line_label, text_label
from surgeon_gui.widgets.layouts import in_grid


class Facts(QWidget):
    """Shows names on the left and values on the right, which can be copied."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self._rows: list[tuple[QLabel, QLabel]] = []
        self._layout = in_grid(self, wide=1, beside=2 * GAP, below=GAP // 2)
        self.hide()

    def show_facts(self, facts: tuple[tuple[str, str], ...]) -> None:
        """Replace the shown facts."""
        while len(self._rows) < len(facts):
            self._add_row()
        for row, (name_label, value_label) in enumerate(self._rows):
            is_used = row < len(facts)
            name_label.setVisible(is_used)
            value_label.setVisible(is_used)
            if is_used:
                name_label.setText(facts[row][0])
                value_label.setText(facts[row][1])
        self.setVisible(bool(facts))

    def _add_row(self) -> None:
        name_label, value_label = line_label(quiet=True), text_label()
        for label in (name_label, value_label):
            label.setParent(self)  # without a parent it would become a window
        name_label.setAlignment(Qt.AlignmentFlag.AlignTop)
        # A long path must not widen the page.
        value_label.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum
        )
        value_label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        row = len(self._rows)
        self._layout.addWidget(name_label, row, 0)
        self._layout.addWidget(value_label, row, 1)
        self._rows.append((name_label, value_label))


def align(*tables: Facts) -> None:
    """Let the values of tables below each other begin at the same place."""
    names = [name for each in tables for name, _ in each._rows if not name.isHidden()]
    width = max((name.sizeHint().width() for name in names), default=0)
    for each in tables:
        each._layout.setColumnMinimumWidth(0, width)
