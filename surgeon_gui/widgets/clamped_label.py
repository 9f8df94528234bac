"""A label that wraps its text to a maximum number of lines."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QLabel, QSizePolicy
from superqt import QElidingLabel
from typing_extensions import override

from surgeon_gui.text.numbers import keep_units

_SLACK = 2  # pixels, by which a line that Qt draws may be wider than measured


class ClampedLabel(QLabel):
    """Shows plain text in a maximum number of lines, and elides the last one."""

    def __init__(self, name: str, max_lines: int) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self._text, self._max_lines = "", max_lines
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_max_lines(self, lines: int) -> None:
        """Change the maximum number of lines."""
        if lines != self._max_lines:
            self._max_lines = lines
            self._draw()
            self.updateGeometry()

    @override
    def text(self) -> str:
        """Return the whole text."""
        return self._text

    @override
    def setText(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self._draw()
            self.updateGeometry()

    # A label without word wrap clears the flag of its size policy with every text.
    @override
    def hasHeightForWidth(self) -> bool:
        return True

    @override
    def heightForWidth(self, width: int) -> int:
        return len(self._lines(width)) * self.fontMetrics().lineSpacing()

    @override
    def sizeHint(self) -> QSize:
        return QSize(0, self.heightForWidth(self.width()))

    @override
    def minimumSizeHint(self) -> QSize:
        return QSize(0, self.fontMetrics().lineSpacing())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._draw()

    def _draw(self) -> None:
        super().setText("\n".join(self._lines(self.width())))

    def _lines(self, width: int) -> list[str]:
        """Return the lines at a width; at least one, which may be empty."""
        width -= _SLACK
        text = keep_units(self._text)
        lines = QElidingLabel.wrapText(text, width, self.font())
        shown = [line.strip() for line in lines[: self._max_lines]] or [""]
        if len(lines) > self._max_lines:
            rest = "".join(lines[self._max_lines - 1 :])
            mode = Qt.TextElideMode.ElideRight
            shown[-1] = self.fontMetrics().elidedText(rest, mode, width)
        return shown
