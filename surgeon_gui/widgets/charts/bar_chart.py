"""A stacked bar chart with an optional vertical line."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import QPointF
from typing_extensions import override

from surgeon_gui.base.theme import theme_of
from surgeon_gui.text.chart_values import Bars
from surgeon_gui.widgets.charts.legend import LegendEntry
from surgeon_gui.widgets.charts.plot import Plot, PlotCard, Reading, padded

_HEADROOM = 0.12  # above the highest bar, as a share of it
_LEAST_SEEN = 0.015  # share of the axis; the edges of a lower part cover it
_DASHES = (6, 4)
_LABEL_ANCHORS = [(0.0, 0.5), (1.0, 0.5)]  # beside the upper end of the line


class BarChart(PlotCard):
    """Draws `Bars`."""

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._shown = Bars("", "")
        self._items: list[pg.BarGraphItem] = []

    @override
    def _add_items(self, plot: Plot) -> None:
        self._mark = pg.InfiniteLine(
            angle=90,
            label=" ",
            labelOpts={"position": 0.94, "anchors": _LABEL_ANCHORS},
        )
        self._mark.setZValue(1)  # above the bars
        self._mark.hide()
        plot.addItem(self._mark, ignoreBounds=True)

    def show_bars(self, bars: Bars) -> None:
        """Replace the shown bars."""
        if bars == self._shown:
            return
        if bars.axis != self._shown.axis:
            self.reset_zoom()
        self._shown = bars
        self.show_as_empty(not bars.edges)
        if not bars.edges:
            return
        self._fill()
        self._mark.setVisible(bars.mark is not None)
        if bars.mark is not None:
            self._mark.setValue(bars.mark)
            self._mark.label.setFormat(bars.mark_name)
        self._plot.getAxis("left").format_tick = bars.format_tick
        self._plot.set_ticks(bars.ticks_between or (lambda low, high: bars.ticks))
        columns = zip(*(stack.heights for stack in bars.stacks), strict=True)
        top = (1 + _HEADROOM) * (max(map(sum, columns), default=0.0) or 1)
        self._plot.fit(padded(bars.edges[0][0], bars.edges[-1][1]), (0.0, top))
        seen = [x for x in bars.stacks if max(x.heights) >= _LEAST_SEEN * top]
        self.show_legend(tuple(LegendEntry(x.name, x.color) for x in seen))
        self._plot.label_axes(bars.axis, bars.x_axis)
        self._plot.read()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        bars = self._shown
        header = (
            bars.x_axis.lower(),
            *(f"{stack.name}, {bars.axis}".lower() for stack in bars.stacks),
        )
        columns = (bars.names, *(stack.heights for stack in bars.stacks))
        return [header, *zip(*columns, strict=True)]

    def _fill(self) -> None:
        """Set the data of all items; unused items get none."""
        bars, theme = self._shown, theme_of(self)
        while len(self._items) < len(bars.stacks):
            item = pg.BarGraphItem(x0=[], x1=[], y0=[], y1=[])
            self._items.append(item)
            self._plot.addItem(item)
        lefts = [left for left, _ in bars.edges]
        rights = [right for _, right in bars.edges]
        bottom = [0.0] * len(lefts)
        for number, item in enumerate(self._items):
            if number >= len(bars.stacks):
                item.setOpts(x0=[], x1=[], y0=[], y1=[])
                continue
            stack = bars.stacks[number]
            top = [y + h for y, h in zip(bottom, stack.heights, strict=True)]
            item.setOpts(
                x0=lefts,
                x1=rights,
                y0=bottom,
                y1=top,
                brush=pg.mkBrush(theme.series[stack.color]),
                pen=pg.mkPen(theme.surface),
            )
            bottom = top

    @override
    def _reading_at(self, place: QPointF) -> Reading | None:
        bars = self._shown
        for number, (left, right) in enumerate(bars.edges):
            if left <= place.x() <= right:
                lines = [
                    f"{stack.name} {bars.format_y(stack.heights[number])}"
                    for stack in reversed(bars.stacks)  # from top to bottom
                    if stack.heights[number]
                ]
                lines.insert(0, bars.names[number])
                return Reading((left + right) / 2, "\n".join(lines))
        return None

    @override
    def _apply_theme(self) -> None:
        theme = theme_of(self)
        self._plot.restyle(theme)
        self._mark.setPen(pg.mkPen(theme.text, dash=_DASHES))
        self._mark.label.setColor(theme.text)
        self._fill()
