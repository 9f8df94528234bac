"""Pager through the decoded windows of a text."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from surgeon_engine.api.messages.sources import TextPreviewed
from surgeon_gui.base.theme import GAP
from surgeon_gui.state.sources.text import PreviewPart, preview_parts
from surgeon_gui.text import numbers
from surgeon_gui.widgets.controls import bold, button, described, text_label
from surgeon_gui.widgets.layouts import STRETCH, in_row, vertical

_HEIGHT = 170


class WindowPager(QWidget):
    """Shows the first windows of each text, then those that the model has written."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("window_pager")
        self._preview: TextPreviewed | None = None
        self._parts: tuple[PreviewPart, ...] = ()
        self._index = 0
        self._title = text_label()
        self._title.setFont(bold(self._title.font()))
        self._title.setObjectName("window_title")
        self._back, self._next = (
            button("window_back_button", self._on_back),
            button("window_on_button", self._on_next),
        )
        self._jump = button("window_jump_button", self._on_jump)
        self._text = described(QPlainTextEdit(readOnly=True), "preview_text")
        self._text.setFixedHeight(_HEIGHT)
        row = in_row(self._back, self._next, STRETCH, self._jump)
        vertical(self, self._title, self._text, row, spacing=GAP // 2)
        self.hide()

    def show_preview(self, preview: TextPreviewed | None, own_windows: int) -> None:
        """Show the first window of a text; an unchanged preview keeps its window."""
        self.setVisible(preview is not None)
        if preview is self._preview:
            return
        self._preview, self._index = preview, 0
        self._parts = () if preview is None else preview_parts(preview, own_windows)
        self._draw()

    @Slot()
    def _on_back(self) -> None:
        self._go_to(self._index - 1)

    @Slot()
    def _on_next(self) -> None:
        self._go_to(self._index + 1)

    @Slot()
    def _on_jump(self) -> None:
        if self._parts:
            part, _ = self._place
            next_part = (part + 1) % len(self._parts)
            self._go_to(sum(len(each.shown) for each in self._parts[:next_part]))

    def _go_to(self, index: int) -> None:
        self._index = index
        self._draw()

    @property
    def _place(self) -> tuple[int, int]:
        """The part that the shown window belongs to, and its number in that part."""
        number = self._index
        for part, each in enumerate(self._parts):
            if number < len(each.shown):
                return part, number
            number -= len(each.shown)
        raise IndexError(self._index)

    def _draw(self) -> None:
        if not self._parts:
            self._text.clear()
            return
        index, number = self._place
        part = self._parts[index]
        self._text.setPlainText(part.shown[number])
        self._back.setEnabled(self._index > 0)
        count = sum(len(each.shown) for each in self._parts)
        self._next.setEnabled(self._index < count - 1)
        self._jump.setText(self._parts[(index + 1) % len(self._parts)].jump)
        self._title.setText(
            part.title.format(
                number=number + 1,
                total=numbers.whole(part.windows),
                tokens=numbers.whole(part.tokens),
            )
        )
