"""The scroll area of a page: its content does not move when a scroll bar comes."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget
from typing_extensions import override


class PageArea(QScrollArea):
    """Scrolls a column; the bar takes its room from the column's right margin."""

    def __init__(self, content: QWidget, column: QVBoxLayout) -> None:
        super().__init__()
        self._column, self._margins = column, column.contentsMargins()
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.verticalScrollBar().rangeChanged.connect(self._make_room)
        self._make_room()

    @override
    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        is_forwards = event.reason() is Qt.FocusReason.TabFocusReason
        if is_forwards or event.reason() is Qt.FocusReason.BacktabFocusReason:
            self.focusNextPrevChild(is_forwards)  # the area shows no focus

    @Slot()
    def _make_room(self) -> None:
        bar, margins = self.verticalScrollBar(), self._margins
        room = bar.sizeHint().width() if bar.maximum() > 0 else 0
        right = max(0, margins.right() - room)
        self._column.setContentsMargins(
            margins.left(), margins.top(), right, margins.bottom()
        )
