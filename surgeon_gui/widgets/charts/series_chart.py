"""Several lines or clouds of points in one chart, with a legend and values on hover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Slot
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QToolTip, QVBoxLayout, QWidget

from surgeon_gui.base.colours import Theme
from surgeon_gui.base.theme import theme_of
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.widgets.charts.series_legend import LegendEntry, SeriesLegend

SYMBOLS = ("o", "s", "t1", "d", "h", "star", "t", "p")
ORIGINAL = "x"  # the symbol of what has not been pruned
_SIZE = 10  # of symbols, in pixels
_NEAR = 14  # pixels within which the mouse is at a point
_ROOM = 0.08  # of the range, free around the points
_MIN_RANGE = 0.02  # of the values themselves
_LEFT_AXIS = 62  # pixels
_DASHES = (5, 4)


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    number: int | None = None  # gives colour and symbol; None: neither a run
    is_joined: bool = True  # by a line
    has_symbols: bool = True


@dataclass(frozen=True, slots=True)
class Axes:
    """What stands beside the axes."""

    x: str
    y: str
    is_log: bool = False  # the vertical one


class SeriesChart(ChartCard):
    """Draws `Series`; the items of the plot are made once and given other data."""

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._series: tuple[Series, ...] = ()
        self._axes = Axes("", "")
        self._items: list[pg.PlotDataItem] = []
        self._plot = pg.PlotWidget()
        self._plot.setObjectName(f"{name}_plot")
        self._plot.setAccessibleName(title)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.hideButtons()
        self._plot.setMenuEnabled(False)
        self._plot.setMouseEnabled(x=False, y=False)
        for side in ("left", "bottom"):
            self._plot.getAxis(side).enableAutoSIPrefix(False)
        self._plot.getAxis("left").setWidth(_LEFT_AXIS)
        self._plot.scene().sigMouseMoved.connect(self._on_mouse_moved)
        self._legend = SeriesLegend()
        body = QWidget()
        layout = QVBoxLayout(body)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._legend)
        layout.addWidget(self._plot, 1)
        self.set_body(body)

    def show_series(self, series: Sequence[Series], axes: Axes) -> None:
        """Show these in place of what was shown; those without points are left out."""
        shown = tuple(each for each in series if each.xs)
        if (shown, axes) == (self._series, self._axes):
            return
        self._series, self._axes = shown, axes
        self.show_as_empty(not shown)
        while len(self._items) < len(shown):
            item = pg.PlotDataItem([], [], antialias=True, symbolSize=_SIZE)
            self._plot.addItem(item)
            self._items.append(item)
        self._plot.setLogMode(y=axes.is_log)
        for number, item in enumerate(self._items):
            is_used = number < len(shown)
            item.setVisible(is_used)
            each = shown[number] if is_used else Series("", (), ())
            item.setData(each.xs, each.ys)
        if shown:
            self._fit_axes()
        self._restyle()

    def rows(self) -> list[tuple[object, ...]]:
        """See `ChartCard.rows`."""
        rows: list[tuple[object, ...]] = [("run", self._axes.x, self._axes.y)]
        for each in self._series:
            if each.has_symbols:
                rows += [
                    (each.name, x, y) for x, y in zip(each.xs, each.ys, strict=True)
                ]
        return rows

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._restyle()
        super().changeEvent(event)

    def _fit_axes(self) -> None:
        xs = [x for each in self._series for x in each.xs]
        ys = [self._placed(y) for each in self._series for y in each.ys]
        self._plot.setXRange(*_range_of(xs), padding=0)
        self._plot.setYRange(*_range_of(ys), padding=0)

    def _placed(self, y: float) -> float:
        return math.log10(y) if self._axes.is_log else y

    def _restyle(self) -> None:
        if not hasattr(self, "_legend"):
            return  # Qt sends style events while the chart is being made
        theme = theme_of(self)
        self._plot.setBackground(theme.surface)
        for side, words in (("left", self._axes.y), ("bottom", self._axes.x)):
            axis = self._plot.getAxis(side)
            axis.setPen(pg.mkPen(theme.border))
            axis.setTextPen(pg.mkPen(theme.muted))
            self._plot.setLabel(side, words, color=theme.muted)
        self._plot.showGrid(x=True, y=True, alpha=0.2)
        for each, item in zip(self._series, self._items, strict=False):
            colour, symbol = _look(theme, each)
            dash = None if each.has_symbols else _DASHES
            pen = pg.mkPen(colour, dash=dash) if each.is_joined else None
            item.setPen(pen)
            item.setSymbol(symbol or None)
            item.setSymbolBrush(pg.mkBrush(colour))
            item.setSymbolPen(pg.mkPen(theme.surface))
        self._legend.show_entries(
            tuple(LegendEntry(each.name, *_look(theme, each)) for each in self._series)
        )

    @Slot(object)
    def _on_mouse_moved(self, place: QPointF) -> None:
        QToolTip.showText(QCursor.pos(), self.words_at(place), self._plot)

    def words_at(self, place: QPointF) -> str:
        """What is said of the point at a place of the scene; empty: there is none."""
        view = self._plot.getPlotItem().vb
        nearest, words = float(_NEAR), ""
        for each in self._series:
            if not each.has_symbols:
                continue
            for x, y in zip(each.xs, each.ys, strict=True):
                there = view.mapViewToScene(QPointF(x, self._placed(y)))
                away = math.hypot(there.x() - place.x(), there.y() - place.y())
                if away < nearest:
                    nearest = away
                    values = f"{self._axes.x}: {x:,.4g}\n{self._axes.y}: {y:,.5g}"
                    words = f"{each.name}\n{values}"
        return words


def _look(theme: Theme, series: Series) -> tuple[str, str]:
    """Colour and symbol of a series; a line without symbols has none."""
    if series.number is None:
        return theme.muted, ORIGINAL if series.has_symbols else ""
    turn, place = divmod(series.number, len(theme.series))
    # In the next turn the same colours have other symbols.
    return theme.series[place], SYMBOLS[(place + turn) % len(SYMBOLS)]


def _range_of(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = _ROOM * max(high - low, _MIN_RANGE * max(abs(high), abs(low)), 1e-9)
    return low - room, high + room
