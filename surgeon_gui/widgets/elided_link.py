"""A button that looks like a line of quiet text and elides its middle, as of a path."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QPushButton, QSizePolicy
from typing_extensions import override

from surgeon_gui.widgets.controls import OnClick, described, explained

_LEAST = 80  # pixels
_BORDER = 4  # pixels of both sides


class ElidedLink(QPushButton):
    """Shows as much of a line as there is room for; see `show_line`."""

    def __init__(self, name: str, on_click: OnClick) -> None:
        super().__init__()
        described(self, name)
        self.setProperty("line", True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self._line = ""
        self.clicked.connect(on_click)

    def show_line(self, line: str, tip: str) -> None:
        """Show a line; a screen reader reads it whole, and then the tooltip."""
        if (line, tip) == (self._line, self.accessibleDescription()):
            return
        self._line = line
        self.setAccessibleName(line)
        explained(self, tip)
        self.updateGeometry()
        self._elide()

    @override
    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        # Eliding counts parts of pixels, which the advance rounds.
        width = metrics.horizontalAdvance(self._line) + 1 + _BORDER
        return QSize(width, metrics.height() + _BORDER)

    @override
    def minimumSizeHint(self) -> QSize:
        return QSize(min(_LEAST, self.sizeHint().width()), self.sizeHint().height())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        middle, room = Qt.TextElideMode.ElideMiddle, self.width() - _BORDER
        text = self.fontMetrics().elidedText(self._line, middle, room)
        self.setText(text.replace("&", "&&"))
