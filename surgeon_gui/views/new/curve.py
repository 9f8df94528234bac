"""The curve of a model: expected quality at each size, with a handle for the target.

x   removed share of the prunable weights, from the whole model to the smallest
y   exp(-KL), the mean factor by which the original's tokens become less likely
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, QSize, QSizeF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPolygonF,
    QRegion,
    QResizeEvent,
)
from PySide6.QtWidgets import QWidget
from typing_extensions import override

from surgeon_engine.planning.forecast import Forecast
from surgeon_gui.base.colors import Theme
from surgeon_gui.base.theme import GAP, MARGIN, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.controls import bold, described
from surgeon_gui.widgets.progress import ProgressBar

_MIN_SIZE = QSize(320, 120)
_BUSY_WIDTH = 160  # pixels
_HANDLE = 9  # radius, pixels
_DOT = 4
_BESIDE = _HANDLE + 1  # pixels from a point to a text: the handle may be there
_STEP, _PAGE_STEP = 0.01, 0.05  # share of the prunable weights for each key press
_TINT = 20  # opacity of the bands, of 255
_MOST_SHOWN = 0.6  # the lowest quality is shown at least down to it
_STEPS = {
    Qt.Key.Key_Left: -_STEP,
    Qt.Key.Key_Right: _STEP,
    Qt.Key.Key_Down: -_STEP,
    Qt.Key.Key_Up: _STEP,
    Qt.Key.Key_PageUp: _PAGE_STEP,
    Qt.Key.Key_PageDown: -_PAGE_STEP,
}


@dataclass(frozen=True, slots=True)
class Band:
    """A range of the quality with one verdict."""

    label: str
    best: float  # divergences
    worst: float
    color: str  # a field of `Theme`; empty: no tint


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Content of a `SizeCurve`."""

    forecast: Forecast
    bands: tuple[Band, ...]
    size_text: Callable[[float], str]  # size at a share
    end_size: str  # the smallest size
    places: Sequence[float]  # the share at which each point of the forecast is shown


class SizeCurve(QWidget):
    """Draws a `Curve`; the mouse and keys move the handle."""

    moved = Signal(float)  # share of the prunable weights

    def __init__(self) -> None:
        super().__init__()
        described(self, "size_curve")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.curve: Curve | None = None  # None: there is a hint in its place
        self.share: float | None = None  # at the handle
        self._hint = ""
        spoken = tr("The model is being read")
        self._busy = ProgressBar("model_reading_bar", spoken)
        self._busy.setParent(self)
        self._busy.show_share(None)

    def show_curve(
        self,
        curve: Curve | None,
        share: float | None,
        hint: str,
        is_busy: bool = False,
    ) -> None:
        """Show a curve with the handle at a share, or a hint in place of a curve.

        If the curve is still being made, a moving bar is below the hint.
        """
        self.curve, self.share, self._hint = curve, share, hint
        self._busy.setVisible(is_busy and curve is None)
        self.setAccessibleDescription(hint)
        if curve is not None and share is not None:
            self.setAccessibleDescription(curve.size_text(share))
        is_usable = curve is not None
        cursor = Qt.CursorShape.SizeHorCursor if is_usable else None
        self.setCursor(cursor or Qt.CursorShape.ArrowCursor)
        self.update()

    @override
    def minimumSizeHint(self) -> QSize:
        return _MIN_SIZE

    @override
    def sizeHint(self) -> QSize:
        return QSize(_MIN_SIZE.width(), 2 * _MIN_SIZE.height())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        place = QRect(0, 0, _BUSY_WIDTH, self._busy.sizeHint().height())
        below = QPoint(0, 2 * self.fontMetrics().height())
        place.moveCenter(self.rect().center() + below)
        self._busy.setGeometry(place)

    # User actions

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton:
            self._move_to(event.position().x())

    @override
    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._move_to(event.position().x())

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        curve = self.curve
        key = Qt.Key(event.key())
        if curve is None or key not in (*_STEPS, Qt.Key.Key_Home, Qt.Key.Key_End):
            super().keyPressEvent(event)
            return
        share = self.share if self.share is not None else curve.forecast.first
        ends = {Qt.Key.Key_Home: 0.0, Qt.Key.Key_End: curve.forecast.last}
        self._emit(curve, ends[key] if key in ends else share + _STEPS[key])

    def _move_to(self, x: float) -> None:
        if self.curve is not None:
            area = self._area()
            part = (x - area.left()) / max(1.0, area.width())
            self._emit(self.curve, part * self.curve.forecast.last)

    def _emit(self, curve: Curve, share: float) -> None:
        possible = curve.forecast.possible(share)
        if possible != self.share:
            self.moved.emit(possible)

    # Painting

    @override
    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    @override
    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()

    def _area(self) -> QRectF:
        line = self.fontMetrics().height()
        rect = QRectF(self.rect())
        return rect.adjusted(MARGIN, MARGIN, -MARGIN, -line - _BESIDE)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        theme, painter = theme_of(self), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.curve is None:
            painter.setPen(QColor(theme.muted))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.rect(), flags, self._hint)
            return
        _Picture(painter, theme, self._area(), self.curve).paint(self.share)
        if self.hasFocus():
            painter.setPen(QPen(QColor(theme.accent), 1.0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            edge = QRectF(self.rect()).adjusted(1, 1, -1, -1)
            painter.drawRoundedRect(edge, GAP, GAP)


class _Picture:
    """Paints a curve into an area."""

    def __init__(
        self, painter: QPainter, theme: Theme, area: QRectF, curve: Curve
    ) -> None:
        self._painter, self._theme, self._area = painter, theme, area
        self._curve, self._forecast = curve, curve.forecast
        found, self._bottom = self._forecast, _MOST_SHOWN
        if found.is_known:
            low = max(map(mul, found.expected, found.spreads))
            self._bottom = min(math.exp(-low), _MOST_SHOWN)
        self._texts: list[QRectF] = []  # the places of those that are painted
        self._marks: list[QRectF] = []  # the places of the points and the handle

    def paint(self, share: float | None) -> None:
        if share is not None:
            self._marks.append(_square(self._at_handle(share), _HANDLE))
        if self._forecast.is_known:
            self._paint_bands()
            self._paint_spread()
            self._paint_labels()
            self._paint_points()
        self._paint_axis(share)
        if share is not None:
            self._paint_handle(share)

    def _x(self, share: float) -> float:
        part = share / self._forecast.last if self._forecast.last else 0.0
        return self._area.left() + part * self._area.width()

    def _y(self, divergence: float) -> float:
        part = (math.exp(-divergence) - self._bottom) / (1 - self._bottom)
        return self._area.bottom() - max(0.0, part) * self._area.height()

    def _line(self, divergences: Sequence[float]) -> QPolygonF:
        pairs = zip(self._forecast.shares, divergences, strict=True)
        return QPolygonF([QPointF(self._x(x), self._y(y)) for x, y in pairs])

    def _boxes(self) -> list[tuple[Band, QRectF]]:
        """Return the bands that are in sight, each with its place."""
        boxes = []
        for band in self._curve.bands:
            top = self._y(band.best)
            bottom = min(self._y(band.worst), self._area.bottom())
            if bottom > top:
                area = self._area
                boxes.append(
                    (band, QRectF(area.left(), top, area.width(), bottom - top))
                )
        return boxes

    def _paint_bands(self) -> None:
        painter, theme = self._painter, self._theme
        for band, box in self._boxes():
            if band.color:
                tint = QColor(getattr(theme, band.color))
                tint.setAlpha(_TINT)
                painter.fillRect(box, tint)
            painter.setPen(QColor(theme.border))
            painter.drawLine(box.topLeft(), box.topRight())

    def _paint_labels(self) -> None:
        painter, sides = self._painter, Qt.AlignmentFlag
        line = painter.fontMetrics().height()
        painter.setPen(QColor(self._theme.muted))
        # Where a curve that falls to the right is not: below it, or above it.
        corners = sides.AlignLeft | sides.AlignBottom, sides.AlignRight | sides.AlignTop
        for band, box in self._boxes():
            if box.height() < line - 2:
                continue
            place = box.adjusted(GAP, 1, -GAP, max(0.0, line - box.height()))
            rooms = {x: painter.boundingRect(place, x, band.label) for x in corners}
            tried = corners if band.best else corners[::-1]  # it begins at the best
            free = (each for each in tried if self._is_free(rooms[each]))
            corner = next(free, corners[1])
            painter.drawText(place, corner, band.label)
            self._texts.append(rooms[corner])

    def _paint_spread(self) -> None:
        painter, theme, found = self._painter, self._theme, self._forecast
        band_of = list(zip(found.expected, found.spreads, strict=True))
        upper = self._line([nats / spread for nats, spread in band_of])
        lower = self._line([nats * spread for nats, spread in band_of])
        band = QPainterPath()
        band.addPolygon(upper)
        for point in reversed(lower.toList()):
            band.lineTo(point)
        band.closeSubpath()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme.accent_soft))
        painter.drawPath(band)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(theme.accent), 2.5))
        painter.drawPolyline(self._line(found.expected))

    def _paint_points(self) -> None:
        painter, theme = self._painter, self._theme
        metrics = painter.fontMetrics()
        # In another number format, its file had neither the size nor the rounding.
        shown = [
            (point.name, QPointF(self._x(place), self._y(point.divergence)))
            for point, place in zip(
                self._forecast.points, self._curve.places, strict=True
            )
            if 0 <= place <= self._forecast.last and point.has_format
        ]
        self._marks += [_square(at, _DOT) for _, at in shown]
        for name, at in shown:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(theme.text))
            painter.drawEllipse(at, _DOT, _DOT)
            size = QSizeF(metrics.horizontalAdvance(name), metrics.height())
            # Where a curve that falls to the right is not: above it, or below it.
            right = QRectF(at + QPointF(_BESIDE, -size.height()), size)
            left = QRectF(at - QPointF(_BESIDE + size.width(), 0), size)
            room = next((each for each in (right, left) if self._is_free(each)), None)
            if room is not None:
                self._texts.append(room)
                painter.setPen(QColor(theme.muted))
                painter.drawText(room, Qt.AlignmentFlag.AlignLeft, name)

    def _is_free(self, room: QRectF) -> bool:
        """Return whether a text has room beside others, the marks and the curve."""
        area, found = self._area, self._forecast
        shares = [
            (x - area.left()) / area.width() * found.last
            for x in (room.left(), room.right())
        ]
        first, last = (self._y(found.at(max(0.0, share))) for share in shares)
        is_crossed = first < room.bottom() and last > room.top()
        taken = (*self._texts, *self._marks)
        is_taken = any(room.intersects(other) for other in taken)
        return area.contains(room) and not is_crossed and not is_taken

    def _paint_axis(self, share: float | None) -> None:
        painter, theme, area = self._painter, self._theme, self._area
        metrics = painter.fontMetrics()
        painter.setPen(QPen(QColor(theme.border), 1.0))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        first, end = self._curve.size_text(0.0), self._curve.end_size
        top = area.bottom() + _BESIDE
        left = QRectF(area.left(), top, area.width(), metrics.height())
        taken = []
        if share is not None:
            taken.append(self._paint_size(share, left))
        painter.setPen(QColor(theme.muted))
        for text, flag, x in (
            (first, Qt.AlignmentFlag.AlignLeft, area.left()),
            (
                end,
                Qt.AlignmentFlag.AlignRight,
                area.right() - metrics.horizontalAdvance(end),
            ),
        ):
            box = QRectF(x, left.top(), metrics.horizontalAdvance(text), left.height())
            if not any(box.adjusted(-GAP, 0, GAP, 0).intersects(one) for one in taken):
                painter.drawText(left, flag, text)

    def _paint_size(self, share: float, below: QRectF) -> QRectF:
        """Paint the size at the handle below the axis; return its place."""
        painter, plain = self._painter, self._painter.font()
        painter.setFont(bold(plain))
        text = self._curve.size_text(share)
        width = painter.fontMetrics().horizontalAdvance(text)
        x = min(max(self._x(share) - width / 2, below.left()), below.right() - width)
        place = QRectF(x, below.top(), width, below.height())
        painter.setPen(QColor(self._theme.text))
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, text)
        painter.setFont(plain)
        return place

    def _paint_handle(self, share: float) -> None:
        painter, theme, area = self._painter, self._theme, self._area
        at = self._at_handle(share)
        painter.setPen(QPen(QColor(theme.text), 1.5))
        around = QRegion(area.adjusted(-2, 0, 2, 2).toAlignedRect())
        for text in self._texts:
            around -= QRegion(text.adjusted(-2, 0, 2, 0).toAlignedRect())
        painter.save()
        painter.setClipRegion(around)
        painter.drawLine(QPointF(at.x(), area.top()), QPointF(at.x(), area.bottom()))
        painter.restore()
        painter.setPen(QPen(QColor(theme.surface), 2.5))
        painter.setBrush(QColor(theme.accent))
        painter.drawEllipse(at, _HANDLE, _HANDLE)

    def _at_handle(self, share: float) -> QPointF:
        shown = min(share, self._forecast.last)
        y = self._area.center().y()
        if self._forecast.is_known:
            y = self._y(self._forecast.at(shown))
        return QPointF(self._x(shown), y)


def _square(center: QPointF, radius: float) -> QRectF:
    return QRectF(center.x() - radius, center.y() - radius, 2 * radius, 2 * radius)
