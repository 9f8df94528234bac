"""The names of the lines of a chart with their colours and symbols, in rows."""

from __future__ import annotations

from dataclasses import dataclass

from pyqtgraph.graphicsItems.ScatterPlotItem import Symbols
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from surgeon_gui.base.theme import GAP, theme_of

_SWATCH = 22  # pixels across
_SYMBOL = 9
_MIN_NAME = 40  # pixels; a longer one is cut in the middle


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One line of the chart."""

    name: str
    colour: str
    symbol: str  # as pyqtgraph calls it; empty: a dashed line


class SeriesLegend(QWidget):
    """As many entries in a row as have room."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: tuple[LegendEntry, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_entries(self, entries: tuple[LegendEntry, ...]) -> None:
        """Show these and no others."""
        if entries != self._entries:
            self._entries = entries
            self.setAccessibleName(", ".join(entry.name for entry in entries))
            self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Take as many rows as this width needs."""
        self._fit()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw each entry in its place."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for entry, place in zip(self._entries, self._places(), strict=True):
            self._paint(painter, entry, place)

    def _paint(self, painter: QPainter, entry: LegendEntry, place: QRectF) -> None:
        theme, colour = theme_of(self), QColor(entry.colour)
        middle = QPointF(place.left() + _SWATCH / 2, place.center().y())
        style = Qt.PenStyle.SolidLine if entry.symbol else Qt.PenStyle.DashLine
        painter.setPen(QPen(colour, 1, style))
        half = QPointF(_SWATCH / 2 - 2, 0)
        painter.drawLine(middle - half, middle + half)
        if entry.symbol:
            painter.save()
            painter.translate(middle)
            painter.scale(_SYMBOL, _SYMBOL)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            painter.drawPath(Symbols[entry.symbol])
            painter.restore()
        painter.setPen(QColor(theme.muted))
        area = place.adjusted(_SWATCH + 4, 0, 0, 0)
        name = self.fontMetrics().elidedText(
            entry.name, Qt.TextElideMode.ElideMiddle, round(area.width())
        )
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(area, left, name)

    def _places(self) -> list[QRectF]:
        metrics, line = self.fontMetrics(), self._line_height()
        places, x, y = [], 0.0, 0.0
        for entry in self._entries:
            name = max(_MIN_NAME, metrics.horizontalAdvance(entry.name) + 2)
            wide = float(min(_SWATCH + 4 + name, max(1, self.width())))
            if x > 0 and x + wide > self.width():
                x, y = 0.0, y + line
            places.append(QRectF(x, y, wide, line))
            x += wide + 2 * GAP
        return places

    def _fit(self) -> None:
        places = self._places()
        self.setFixedHeight(round(places[-1].bottom()) if places else 0)
        self.update()

    def _line_height(self) -> int:
        return self.fontMetrics().height() + 4
