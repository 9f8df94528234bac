"""A progress bar: a share, or a piece that goes to and fro while it is not known."""

from __future__ import annotations

import math
import time

from PySide6.QtCore import QRectF, Qt, QTimer, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QProgressBar
from typing_extensions import override

from surgeon_gui.base.theme import theme_of

_FULL = 1000  # steps
_PIECE = 0.3  # share of the width
_SECONDS = 3.0  # to and fro
_FRAME_MS = 40


class ProgressBar(QProgressBar):
    """Paints itself without a maximum: the piece of the style leaves and comes in two.

    Its timer runs as long as there is something to paint.
    """

    def __init__(self, name: str, spoken: str = "") -> None:
        super().__init__(maximum=_FULL, textVisible=False)
        self.setObjectName(name)
        self.setAccessibleName(spoken)
        self._timer = QTimer(self, interval=_FRAME_MS)
        self._timer.timeout.connect(self._on_tick)

    def show_share(self, share: float | None) -> None:
        """Show a share from 0 to 1; None: it is not known."""
        self.setMaximum(0 if share is None else _FULL)
        if share is not None:
            self.setValue(round(share * _FULL))

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        if self.maximum():
            super().paintEvent(event)
            return
        if not self._timer.isActive():
            self._timer.start()
        painter, theme = QPainter(self), theme_of(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        turn = 2 * math.pi * time.monotonic() / _SECONDS
        width = self.width() * _PIECE
        left = (self.width() - width) * (1 - math.cos(turn)) / 2
        painter.setPen(Qt.PenStyle.NoPen)
        radius = self.height() / 2
        track = QRectF(self.rect())
        piece = QRectF(left, 0, width, self.height())
        for color, part in ((theme.raised, track), (theme.accent, piece)):
            painter.setBrush(QColor(color))
            painter.drawRoundedRect(part, radius, radius)

    @Slot()
    def _on_tick(self) -> None:
        if self.isVisible() and not self.maximum():
            self.update()
        else:
            self._timer.stop()
