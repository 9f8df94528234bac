"""A value over the shots of a run: one line, and a dashed one for the original."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyqtgraph as pg
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QColor

from surgeon_gui.theme import theme_of
from surgeon_gui.translation import tr
from surgeon_gui.widgets.chart_card import ChartCard

_DOT = 7  # pixels
_ROOM = 0.15  # of the range of values, free above and below the line
_LEAST_RANGE = 0.02  # of the value itself, so that a flat line looks flat
_LEFT_AXIS = 68  # pixels, so that charts below each other line up
_MOST_BROAD = 50  # points of a line two pixels wide; a longer one has one pixel
_DASHES = (6, 4)  # of the baseline: drawn, left out
_LABEL_ANCHORS = [(1.0, 1.0), (1.0, 1.0)]  # the baseline's name above its right end


@dataclass(frozen=True, slots=True)
class Line:
    """What a chart shows."""

    axis: str  # what stands beside the vertical axis
    xs: tuple[float, ...] = ()
    ys: tuple[float, ...] = ()
    last_x: float = 1.0  # where the horizontal axis ends
    baseline: float | None = None
    is_log: bool = False
    from_zero: bool = False


class LineChart(ChartCard):
    """One line with a dot at each shot.

    All items are made once and given other data from then on: pyqtgraph leaks plots
    that are made anew. A broad line is drawn only while it has few points: at 50 it
    takes 5 ms, at 2,000 it would take seconds.
    """

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._shown = Line("")
        self._plot = pg.PlotWidget()
        self._plot.setObjectName(f"{name}_plot")
        self._plot.setAccessibleName(title)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.hideButtons()
        self._plot.setMenuEnabled(False)
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.setLabel("bottom", tr("Shot"))
        for side in ("left", "bottom"):
            self._plot.getAxis(side).enableAutoSIPrefix(False)
        self._plot.getAxis("left").setWidth(_LEFT_AXIS)
        self._base_line = pg.InfiniteLine(
            angle=0,
            label=tr("original"),
            labelOpts={"position": 0.99, "anchors": _LABEL_ANCHORS},
        )
        self._line = pg.PlotDataItem(
            [], [], symbol="o", symbolSize=_DOT, antialias=True
        )
        self._plot.addItem(self._base_line)
        self._plot.addItem(self._line)
        self.set_body(self._plot)
        self._restyle()

    def show_line(self, line: Line) -> None:
        """Show `line` in place of what was shown."""
        if line == self._shown:
            return
        self._shown = line
        self.show_as_empty(not line.xs)
        if not line.xs:
            return
        self._plot.setLogMode(y=line.is_log)
        self._line.setData(line.xs, line.ys)
        baseline = line.baseline
        self._base_line.setVisible(baseline is not None)
        if baseline is not None:
            self._base_line.setValue(math.log10(baseline) if line.is_log else baseline)
        self._fit_axes(line)
        self._restyle()

    def rows(self) -> list[tuple[object, ...]]:
        """See `ChartCard.rows`."""
        line = self._shown
        return [("shot", line.axis.lower()), *zip(line.xs, line.ys, strict=True)]

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._restyle()
        super().changeEvent(event)

    def _fit_axes(self, line: Line) -> None:
        ticks = _whole_ticks(line.last_x)
        self._plot.getAxis("bottom").setTicks([[(x, f"{x:g}") for x in ticks]])
        self._plot.setXRange(-0.15, line.last_x + 0.15, padding=0.02)
        values = list(line.ys)
        if line.baseline is not None:
            values.append(line.baseline)
        if line.is_log:
            values = [math.log10(value) for value in values]
        low, high = min(values), max(values)
        bottom = 0.0 if line.from_zero else low
        room = _ROOM * max(high - bottom, _LEAST_RANGE * abs(high))
        if not line.from_zero:
            bottom -= room
        self._plot.setYRange(bottom, high + room, padding=0)

    def _restyle(self) -> None:
        if not hasattr(self, "_line"):
            return  # Qt sends style events while the chart is being made
        theme = theme_of(self)
        self._plot.setBackground(theme.surface)
        for side in ("left", "bottom"):
            axis = self._plot.getAxis(side)
            axis.setPen(pg.mkPen(theme.border))
            axis.setTextPen(pg.mkPen(theme.muted))
        self._plot.setLabel("left", self._shown.axis, color=theme.muted)
        self._plot.setLabel("bottom", tr("Shot"), color=theme.muted)
        self._plot.showGrid(x=False, y=True, alpha=0.25)
        width = 2 if len(self._shown.xs) <= _MOST_BROAD else 1
        self._line.setPen(pg.mkPen(theme.accent, width=width))
        self._line.setSymbolBrush(pg.mkBrush(theme.accent))
        self._line.setSymbolPen(pg.mkPen(theme.surface))
        self._line.setFillLevel(0.0 if self._shown.from_zero else None)
        shade = QColor(theme.accent)
        shade.setAlpha(36)
        self._line.setFillBrush(shade if self._shown.from_zero else None)
        dashed = pg.mkPen(theme.muted, dash=_DASHES)
        self._base_line.setPen(dashed)
        self._base_line.label.setColor(theme.muted)


def _whole_ticks(last: float, most: int = 12) -> list[int]:
    """Whole numbers from 0 to `last`, few enough to be read."""
    step = max(1, math.ceil(last / most))
    return list(range(0, int(last) + 1, step))
