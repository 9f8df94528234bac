"""The scroll area of a page: its content does not move when a scroll bar comes."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from surgeon_gui.base.theme import PAGE


class PageArea(QScrollArea):
    """Scrolls a column with the margins of a page; the bar takes its room from them."""

    def __init__(self, content: QWidget, column: QVBoxLayout) -> None:
        super().__init__()
        self._column = column
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.verticalScrollBar().rangeChanged.connect(self._make_room)
        self._make_room()

    @Slot()
    def _make_room(self) -> None:
        bar = self.verticalScrollBar()
        room = bar.sizeHint().width() if bar.maximum() > 0 else 0
        self._column.setContentsMargins(PAGE, PAGE, PAGE - room, PAGE)
