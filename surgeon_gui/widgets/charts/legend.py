"""The legend of a chart: names with their colors, in as many rows as they need."""

from __future__ import annotations

from dataclasses import dataclass

from pyqtgraph.graphicsItems.ScatterPlotItem import Symbols
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget
from superqt import QFlowLayout
from typing_extensions import override

from surgeon_gui.base.theme import GAP, theme_of

_SQUARE = 9  # pixels, the side of a swatch
_LINE = 22  # pixels, the length of a line with a symbol
_SYMBOL = 9  # pixels
_MIN_NAME = 40  # pixels; a longer name is elided in the middle where space is short


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One name in a legend."""

    name: str
    series: int | None  # gives the color; None: the muted color of the theme
    symbol: str | None = None  # pyqtgraph symbol; "": a dashed line, None: a square


class Legend(QWidget):
    """Shows entries in rows; as wide as its parent and as high as the rows."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: tuple[LegendEntry, ...] = ()
        self._views: list[_EntryView] = []  # one per entry
        self._unused: list[_EntryView] = []  # kept: charts change their entries often
        self._flow = QFlowLayout(self)
        self._flow.setContentsMargins(0, 0, 0, 0)
        self._flow.setHorizontalSpacing(GAP + GAP // 2)
        self._flow.setVerticalSpacing(0)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the entries."""
        return tuple(entry.name for entry in self._entries)

    def show_entries(self, entries: tuple[LegendEntry, ...]) -> None:
        """Replace the entries."""
        if entries == self._entries:
            return
        self._entries = entries
        self.setAccessibleName(", ".join(self.names))
        for view in self._views[len(entries) :]:
            self._flow.removeWidget(view)
            view.hide()
            self._unused.append(view)
        del self._views[len(entries) :]
        for view, entry in zip(self._views, entries, strict=False):
            view.show_entry(entry)
        for entry in entries[len(self._views) :]:
            view = self._unused.pop() if self._unused else _EntryView()
            view.show_entry(entry)
            self._flow.addWidget(view)
            view.show()
            self._views.append(view)
        self._limit_widths(self.width())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        self._limit_widths(event.size().width())
        super().resizeEvent(event)

    def _limit_widths(self, width: int) -> None:
        for view in self._views:
            view.setMaximumWidth(max(1, width))


class _EntryView(QWidget):
    """Paints one entry."""

    def __init__(self) -> None:
        super().__init__()
        self._entry = LegendEntry("", None)
        self._mark_width = _SQUARE
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def show_entry(self, entry: LegendEntry) -> None:
        """Replace the entry."""
        self._entry = entry
        self._mark_width = _SQUARE if entry.symbol is None else _LINE
        self.updateGeometry()
        self.update()

    @override
    def sizeHint(self) -> QSize:
        return self._size_for(self.fontMetrics().horizontalAdvance(self._entry.name))

    @override
    def minimumSizeHint(self) -> QSize:
        name = self.fontMetrics().horizontalAdvance(self._entry.name)
        return self._size_for(min(name, _MIN_NAME))

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        # The legend of a picture for print has the picture's palette, but an entry
        # added later has the application's.
        theme, entry = theme_of(self.parentWidget() or self), self._entry
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = QColor(theme.muted)
        if entry.series is not None:
            color = QColor(theme.series[entry.series % len(theme.series)])
        center = QPointF(self._mark_width / 2, self.height() / 2)
        if entry.symbol is None:
            _paint_square(painter, center, color)
        else:
            _paint_line(painter, center, color, entry.symbol)
        painter.setPen(QColor(theme.muted))
        area = self.rect().adjusted(self._mark_width + GAP // 2, 0, 0, 0)
        name = self.fontMetrics().elidedText(
            entry.name, Qt.TextElideMode.ElideMiddle, area.width()
        )
        align = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(area, align, name)

    def _size_for(self, name_width: int) -> QSize:
        # One pixel more than the advance, which Qt rounds down.
        width = self._mark_width + GAP // 2 + name_width + 1
        return QSize(width, self.fontMetrics().height())


def _paint_square(painter: QPainter, center: QPointF, color: QColor) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    corner = center - QPointF(_SQUARE / 2, _SQUARE / 2)
    painter.drawRoundedRect(QRectF(corner.x(), corner.y(), _SQUARE, _SQUARE), 2, 2)


def _paint_line(painter: QPainter, center: QPointF, color: QColor, symbol: str) -> None:
    style = Qt.PenStyle.SolidLine if symbol else Qt.PenStyle.DashLine
    painter.setPen(QPen(color, 1, style))
    half = QPointF(_LINE / 2 - 2, 0)
    painter.drawLine(center - half, center + half)
    if symbol:
        painter.save()
        painter.translate(center)
        painter.scale(_SYMBOL, _SYMBOL)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        painter.drawPath(Symbols[symbol])
        painter.restore()
