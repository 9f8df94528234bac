"""A small mark with a shape and a color. The word beside it says the same."""

from __future__ import annotations

from enum import Enum

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import theme_of


class Shape(Enum):
    """The shapes of a dot."""

    FILLED = "filled"
    RING = "ring"
    TICK = "tick"  # in a circle
    WARNING = "warning"  # an exclamation mark in a triangle
    CROSS = "cross"  # in a circle


# The strokes of the signs, in a square of side 1.
_STROKES = {
    Shape.TICK: (((0.27, 0.53), (0.44, 0.7), (0.74, 0.33)),),
    Shape.WARNING: (((0.5, 0.4), (0.5, 0.65)), ((0.5, 0.83), (0.5, 0.84))),
    Shape.CROSS: (((0.33, 0.33), (0.67, 0.67)), ((0.67, 0.33), (0.33, 0.67))),
}
_TRIANGLE = ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0))


class Dot(QWidget):
    """Draws a shape in a color of the theme."""

    def __init__(self, size: int = 14) -> None:
        super().__init__()
        self._size = size
        self.shape, self.color = Shape.RING, "border"
        fixed = QSizePolicy.Policy.Fixed
        self.setSizePolicy(fixed, fixed)

    def show_shape(self, shape: Shape, color: str) -> None:
        """Show a shape in the color of the theme with that name."""
        if (shape, color) != (self.shape, self.color):
            self.shape, self.color = shape, color
            self.update()

    @override
    def sizeHint(self) -> QSize:
        return QSize(self._size + 1, self._size + 1)

    @override
    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    @override
    def paintEvent(self, _: QPaintEvent) -> None:
        theme, painter = theme_of(self), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = QColor(getattr(theme, self.color))
        place = QRectF(1, 1, self._size - 1, self._size - 1)
        if self.shape is Shape.RING:
            painter.setPen(QPen(color, 2))
            painter.drawEllipse(place)
            return
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        if self.shape is Shape.WARNING:
            painter.drawPolygon(QPolygonF([self._at(x, y) for x, y in _TRIANGLE]))
        else:
            painter.drawEllipse(place)
        painter.setPen(QPen(QColor(theme.surface), 1.8, c=Qt.PenCapStyle.RoundCap))
        for stroke in _STROKES.get(self.shape, ()):
            painter.drawPolyline([self._at(x, y) for x, y in stroke])

    def _at(self, x: float, y: float) -> QPointF:
        return QPointF(1 + x * (self._size - 1), 1 + y * (self._size - 1))
