"""Cards beside each other, or below each other where there is no room for that."""

from __future__ import annotations

from PySide6.QtCore import QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QWidget
from typing_extensions import override

from surgeon_gui.base.theme import ROOM
from surgeon_gui.widgets.layouts import horizontal, stack


class CardRow(QWidget):
    """Gives its cards the same width; `narrow`: pixels below which they are stacked."""

    def __init__(self, *cards: QWidget, narrow: int) -> None:
        super().__init__()
        self._cards, self._narrow = cards, narrow
        self._row = horizontal(self, *((each, 1) for each in cards), spacing=ROOM)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        shown = [each for each in self._cards if not each.isHidden()]
        widest = max((each.minimumSizeHint().width() for each in shown), default=0)
        needed = len(shown) * (widest + ROOM) - ROOM
        is_stacked = event.size().width() < max(needed, self._narrow)
        stack(self._row, is_stacked=is_stacked)

    # The layout would not let the row become narrower than its cards are together.
    @override
    def minimumSizeHint(self) -> QSize:
        widths = [each.minimumSizeHint().width() for each in self._cards]
        return QSize(max(widths), super().minimumSizeHint().height())
