"""The chart of a comparison: the quality of each file over its size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyqtgraph as pg
from PySide6.QtCore import QPointF, Slot
from typing_extensions import override

from surgeon_gui.base.theme import theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state import comparison
from surgeon_gui.state.comparison import SIZE, ComparedRun, Point
from surgeon_gui.state.quality import NAMES, Quality, measures
from surgeon_gui.text.numbers import significant
from surgeon_gui.widgets.charts.chart_card import MEASURE_LENGTH
from surgeon_gui.widgets.charts.legend import LegendEntry
from surgeon_gui.widgets.charts.plot import Plot, PlotCard, Reading
from surgeon_gui.widgets.choice_box import ChoiceBox

_SYMBOLS = ("o", "s", "t1", "d", "h", "star", "t", "p")
_ORIGINAL = "x"
_SYMBOL_SIZE = 10  # pixels
_MAX_DISTANCE = 14  # pixels between the mouse and a point
_PADDING = 0.08  # around the points, as a share of their range
_MIN_RANGE = 0.02  # as a share of the values
_DASHES = (5, 4)


class SizeChart(PlotCard):
    """A point for each file and original, and a line through the best."""

    min_legend_entries = 1  # a single run is named too

    def __init__(self) -> None:
        super().__init__(
            "compare_size",
            tr("Size and quality"),
            tr("None of these runs has a file yet."),
        )
        self._runs: Sequence[ComparedRun] = ()
        self._points: tuple[Point, ...] = ()
        self._label = ""  # label of the quality axis
        self._measure = ChoiceBox("compare_measure_combo", MEASURE_LENGTH)
        self._chosen: Quality | None = None  # by the user
        self._measure.offer(NAMES)
        self.add_control(self._measure)
        self._measure.currentIndexChanged.connect(self._on_measure_chosen)

    def show_runs(self, runs: Sequence[ComparedRun]) -> None:
        """Show the files of these runs, and their originals."""
        self._runs = runs
        offered = {each: NAMES[each] for each in measures(each.run for each in runs)}
        self._measure.offer(offered, self._chosen)
        self._redraw()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        header = ("model", SIZE, self._label, "best for its size")
        return [header, *((x.name, x.size, x.quality, x.is_best) for x in self._points)]

    @Slot()
    def _on_measure_chosen(self) -> None:
        self._chosen = self._measure.value
        self._redraw()

    def _redraw(self) -> None:
        measure = self._measure.value
        points = comparison.points(self._runs, measure)
        label = comparison.axis_label(self._runs, measure)
        if (points, label) == (self._points, self._label):
            return
        if label != self._label:
            self.reset_zoom()
        self._points, self._label = points, label
        self.show_as_empty(not points)
        entries = [LegendEntry(x.name, x.run, _symbol(x)) for x in points]
        if comparison.front(points):
            entries.insert(0, LegendEntry(tr("Best for their size"), None, ""))
        self.show_legend(tuple(entries))
        if points:
            sizes, qualities = zip(*((x.size, x.quality) for x in points), strict=True)
            self._plot.fit(_range_of(sizes), _range_of(qualities))
            self._plot.read()
        self._restyle()

    @override
    def _add_items(self, plot: Plot) -> None:
        self._line = pg.PlotDataItem(antialias=True)
        self._marks = pg.ScatterPlotItem(size=_SYMBOL_SIZE, antialias=True)
        plot.addItem(self._line)
        plot.addItem(self._marks)

    @override
    def _apply_theme(self) -> None:
        theme = theme_of(self)
        self._plot.label_axes(self._label, SIZE)
        self._plot.restyle(theme)
        self._plot.showGrid(x=True, y=True, alpha=0.2)
        best = comparison.front(self._points)
        self._line.setData([x.size for x in best], [x.quality for x in best])
        self._line.setPen(pg.mkPen(theme.muted, dash=_DASHES))
        colors = [
            theme.muted if x.run is None else theme.series[x.run % len(theme.series)]
            for x in self._points
        ]
        self._marks.setData(
            x=[x.size for x in self._points],
            y=[x.quality for x in self._points],
            symbol=[_symbol(x) for x in self._points],
            brush=[pg.mkBrush(color) for color in colors],
            pen=pg.mkPen(theme.surface),
        )

    @override
    def _reading_at(self, place: QPointF) -> Reading | None:
        """Return the values of the point at a position; None if there is none."""
        box = self._plot.getViewBox()

        def pixels_to(point: Point) -> float:
            at = QPointF(point.size, point.quality)
            away = box.mapViewToScene(at) - box.mapViewToScene(place)
            return math.hypot(away.x(), away.y())

        nearest = min(self._points, key=pixels_to)
        if pixels_to(nearest) >= _MAX_DISTANCE:
            return None
        size = significant(nearest.size, 4)
        quality = significant(nearest.quality, 5)
        text = f"{nearest.name}\n{SIZE}: {size}\n{self._label}: {quality}"
        return Reading(nearest.size, text, ((nearest.size, nearest.quality),))


def _symbol(point: Point) -> str:
    if point.run is None:
        return _ORIGINAL
    # When the colors repeat, each gets a different symbol.
    turn, place = divmod(point.run, len(_SYMBOLS))
    return _SYMBOLS[(place + turn) % len(_SYMBOLS)]


def _range_of(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    padding = _PADDING * max(high - low, _MIN_RANGE * max(abs(high), abs(low)), 1e-9)
    return low - padding, high + padding
