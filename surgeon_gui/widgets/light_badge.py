"""A traffic light with a sign and a word, so that it does not rely on color alone."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

from surgeon_engine.planning.needs import ResourceStatus
from surgeon_gui.base.colors import Theme
from surgeon_gui.base.theme import theme_of
from surgeon_gui.widgets.tool_tips import plain_tip

_SIGN = 16  # pixels
_GAP = 5


class LightBadge(QWidget):
    """A tick in a circle, an exclamation mark in a triangle, or a cross in a square."""

    def __init__(self, name: str, *, shows_word: bool = True) -> None:
        super().__init__()
        self.setObjectName(name)
        self._light = ResourceStatus.GREEN
        self._word = ""
        self._shows_word = shows_word
        fixed = QSizePolicy.Policy.Fixed
        self.setSizePolicy(fixed, fixed)

    @property
    def light(self) -> ResourceStatus:
        """The current light."""
        return self._light

    def show_light(self, light: ResourceStatus, word: str, what: str) -> None:
        """Show a light with its word; `what` names the subject in the tooltip."""
        self._light, self._word = light, word if self._shows_word else ""
        self.setAccessibleName(f"{what}: {word}")
        self.setToolTip(plain_tip(self.accessibleName()))
        self.updateGeometry()
        self.update()

    @override
    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        text = _GAP + metrics.horizontalAdvance(self._word) if self._word else 0
        return QSize(_SIGN + text + 1, max(_SIGN + 1, metrics.height()))

    @override
    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    @override
    def paintEvent(self, _: QPaintEvent) -> None:
        theme, painter = theme_of(self), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = QColor(_color(theme, self._light))
        place = QRectF(0.5, (self.height() - _SIGN) / 2, _SIGN, _SIGN)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        _paint_shape(painter, self._light, place)
        painter.setPen(QPen(QColor(theme.surface), 1.8, c=Qt.PenCapStyle.RoundCap))
        _paint_sign(painter, self._light, place)
        painter.setPen(color)
        area = self.rect().adjusted(_SIGN + _GAP, 0, 0, 0)
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter, self._word)
        painter.end()


def _color(theme: Theme, light: ResourceStatus) -> str:
    return {
        ResourceStatus.GREEN: theme.good,
        ResourceStatus.YELLOW: theme.warning,
        ResourceStatus.RED: theme.bad,
    }[light]


def _paint_shape(painter: QPainter, light: ResourceStatus, place: QRectF) -> None:
    match light:
        case ResourceStatus.GREEN:
            painter.drawEllipse(place)
        case ResourceStatus.YELLOW:
            top = QPointF(place.center().x(), place.top())
            painter.drawPolygon(
                QPolygonF([top, place.bottomRight(), place.bottomLeft()])
            )
        case ResourceStatus.RED:
            painter.drawRoundedRect(place, 3, 3)


def _paint_sign(painter: QPainter, light: ResourceStatus, place: QRectF) -> None:
    def at(x: float, y: float) -> QPointF:
        return QPointF(place.left() + x * _SIGN, place.top() + y * _SIGN)

    lines = {
        ResourceStatus.GREEN: ((0.27, 0.53, 0.44, 0.7), (0.44, 0.7, 0.74, 0.33)),
        ResourceStatus.YELLOW: ((0.5, 0.4, 0.5, 0.65), (0.5, 0.83, 0.5, 0.84)),
        ResourceStatus.RED: ((0.3, 0.3, 0.7, 0.7), (0.7, 0.3, 0.3, 0.7)),
    }[light]
    for x, y, to_x, to_y in lines:
        painter.drawLine(at(x, y), at(to_x, to_y))
