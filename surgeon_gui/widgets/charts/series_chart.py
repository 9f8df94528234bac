"""A chart of several lines or point clouds, with a legend and values on hover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyqtgraph as pg
from PySide6.QtCore import QPointF, Slot
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QToolTip
from typing_extensions import override

from surgeon_gui.base.theme import theme_of
from surgeon_gui.text.numbers import significant
from surgeon_gui.widgets.charts.legend import LegendEntry
from surgeon_gui.widgets.charts.plot import PagePlot, PlotCard, log_label
from surgeon_gui.widgets.tool_tips import plain_tip

SYMBOLS = ("o", "s", "t1", "d", "h", "star", "t", "p")
ORIGINAL = "x"  # symbol of the unpruned model
_SIZE = 10  # of symbols, in pixels
_MAX_DISTANCE = 14  # pixels between the mouse and a point
_PADDING = 0.08  # around the points, as a share of their range
_MIN_RANGE = 0.02  # as a share of the values
_DASHES = (5, 4)


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    number: int | None = None  # gives color and symbol; None: not a run
    is_joined: bool = True  # by a line
    has_symbols: bool = True


@dataclass(frozen=True, slots=True)
class Axes:
    """Labels of the axes."""

    x: str
    y: str
    is_log: bool = False  # the vertical one


class SeriesChart(PlotCard):
    """Draws `Series`."""

    min_legend_entries = 1  # a single run is named too

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._series: tuple[Series, ...] = ()
        self._axes = Axes("", "")
        self._items: list[pg.PlotDataItem] = []

    @override
    def _add_items(self, plot: PagePlot) -> None:
        plot.scene().sigMouseMoved.connect(self._on_mouse_moved)

    def show_series(self, series: Sequence[Series], axes: Axes) -> None:
        """Replace the shown series; those without points are left out."""
        shown = tuple(each for each in series if each.xs)
        if (shown, axes) == (self._series, self._axes):
            return
        if axes != self._axes:
            self.reset_zoom()
        self._series, self._axes = shown, axes
        self.show_as_empty(not shown)
        self.show_legend(
            tuple(LegendEntry(each.name, each.number, _symbol(each)) for each in shown)
        )
        if not shown:
            return
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
        self._fit_axes()
        self._restyle()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = [("run", self._axes.x, self._axes.y)]
        for each in self._series:
            if each.has_symbols:
                rows += [
                    (each.name, x, y) for x, y in zip(each.xs, each.ys, strict=True)
                ]
        return rows

    def _fit_axes(self) -> None:
        xs = [x for each in self._series for x in each.xs]
        ys = [self._placed(y) for each in self._series for y in each.ys]
        self._plot.fit(_range_of(xs), _range_of(ys))

    def _placed(self, y: float) -> float:
        return math.log10(y) if self._axes.is_log else y

    @override
    def _apply_theme(self) -> None:
        theme = theme_of(self)
        self._plot.restyle(theme)
        y_label = log_label(self._axes.y, self._axes.is_log)
        self._plot.name_axes(theme.muted, y_label, self._axes.x)
        self._plot.showGrid(x=True, y=True, alpha=0.2)
        for each, item in zip(self._series, self._items, strict=False):
            color, symbol = theme.muted, _symbol(each)
            if each.number is not None:
                color = theme.series[each.number % len(theme.series)]
            dash = None if each.has_symbols else _DASHES
            pen = pg.mkPen(color, dash=dash) if each.is_joined else None
            item.setPen(pen)
            item.setSymbol(symbol or None)
            item.setSymbolBrush(pg.mkBrush(color))
            item.setSymbolPen(pg.mkPen(theme.surface))

    @Slot(object)
    def _on_mouse_moved(self, place: QPointF) -> None:
        QToolTip.showText(QCursor.pos(), plain_tip(self.text_at(place)), self._plot)

    def text_at(self, place: QPointF) -> str:
        """Return the values of the point at a position in the scene; empty if none."""
        view = self._plot.getPlotItem().vb
        nearest, text = float(_MAX_DISTANCE), ""
        for each in self._series:
            if not each.has_symbols:
                continue
            for x, y in zip(each.xs, each.ys, strict=True):
                position = view.mapViewToScene(QPointF(x, self._placed(y)))
                distance = math.hypot(
                    position.x() - place.x(), position.y() - place.y()
                )
                if distance < nearest:
                    nearest = distance
                    x_text, y_text = significant(x, 4), significant(y, 5)
                    values = f"{self._axes.x}: {x_text}\n{self._axes.y}: {y_text}"
                    text = f"{each.name}\n{values}"
        return text


def _symbol(series: Series) -> str:
    """Return the symbol of a series; empty for a line without symbols."""
    if series.number is None:
        return ORIGINAL if series.has_symbols else ""
    # When the colors repeat, each gets a different symbol.
    turn, place = divmod(series.number, len(SYMBOLS))
    return SYMBOLS[(place + turn) % len(SYMBOLS)]


def _range_of(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    padding = _PADDING * max(high - low, _MIN_RANGE * max(abs(high), abs(low)), 1e-9)
    return low - padding, high + padding
