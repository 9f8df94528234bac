"""The application icon: a grid of weights, some of them removed."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap

from surgeon_gui.base.colors import LIGHT

_SIZES = (16, 32, 64, 128, 256)
_REMOVED = {(0, 2), (1, 0), (2, 1), (2, 2)}  # row, column


def application_icon() -> QIcon:
    """Return the icon in all sizes that desktops use."""
    icon = QIcon()
    for size in _SIZES:
        icon.addPixmap(_draw(size))
    return icon


def _draw(size: int) -> QPixmap:
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(LIGHT.accent))
    painter.drawRoundedRect(QRectF(0, 0, size, size), size * 0.2, size * 0.2)
    cell, gap = size * 0.18, size * 0.06
    start = (size - 3 * cell - 2 * gap) / 2
    for row in range(3):
        for column in range(3):
            color = QColor(LIGHT.on_accent)
            color.setAlphaF(0.25 if (row, column) in _REMOVED else 1.0)
            painter.setBrush(color)
            x, y = start + column * (cell + gap), start + row * (cell + gap)
            painter.drawRoundedRect(QRectF(x, y, cell, cell), cell * 0.2, cell * 0.2)
    painter.end()
    return pixmap
