"""A line chart over shots or time, with dashed lines for a baseline and a limit."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Slot
from PySide6.QtGui import QColor
from typing_extensions import override

from surgeon_gui.base.theme import theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.text.chart_values import Curve, Line
from surgeon_gui.widgets.charts.legend import LegendEntry
from surgeon_gui.widgets.charts.plot import Plot, PlotCard, Reading, padded

_DOT = 7  # pixels
_MAX_EXACT_TICK = 100
_PADDING = 0.2  # above the line, as a share of its range
_BOTTOM_ROOM = 0.3  # below it, where the label of the baseline is
_DOT_ROOM = 0.04  # below a dot at zero, as a share of the range
_MIN_RANGE = 0.02  # as a share of the values, so that a flat line looks flat
_MAX_WIDE_POINTS = 50  # longer lines are one pixel wide instead of two
MAX_POINTS_DRAWN = 2_000  # a screen has no more columns of pixels
_TEXT_EDGES = (2, 2, -2, -2)  # pixels of a label that a curve may touch
_SHIFT, _MAX_SHIFT = 4, 40  # pixels between the last point and its label
_DASHES = (6, 4)  # baseline and limit: pixels drawn, pixels skipped
_LABEL_PLACE = 0.01  # place of a label along the baseline or the limit, as a share
# The label of the baseline is below its left end, because curves start on it and rise.
_LABEL_ANCHORS = [(0.0, 0.0), (0.0, 0.0)]
_LIMIT_ANCHORS = [(0.0, 1.0), (0.0, 1.0)]  # above, because curves come from below


class LineChart(PlotCard):
    """Draws one curve or several, with a dot at each shot.

    Lines with many points are one pixel wide: a wider line takes 5 ms at 50 points and
    seconds at 2,000.
    """

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__(name, title, when_empty)
        self._shown = Line("")
        self._lines: list[pg.PlotDataItem] = []

    @override
    def _add_items(self, plot: Plot) -> None:
        self._base_line = pg.InfiniteLine(
            angle=0,
            label=tr("original"),
            labelOpts={"position": _LABEL_PLACE, "anchors": _LABEL_ANCHORS},
        )
        self._limit_line = pg.InfiniteLine(
            angle=0,
            label=tr("limit"),
            labelOpts={"position": _LABEL_PLACE, "anchors": _LIMIT_ANCHORS},
        )
        self._last_text = pg.TextItem()
        plot.addItem(self._base_line)
        plot.addItem(self._limit_line)
        plot.addItem(self._last_text, ignoreBounds=True)
        plot.getViewBox().sigTransformChanged.connect(self._place_last_text)

    def show_line(self, line: Line) -> None:
        """Replace the shown line."""
        if line == self._shown:
            return
        if line.axes != self._shown.axes:
            self.reset_zoom()
        self._shown = line
        self.show_as_empty(not line.xs)
        if not line.xs:
            return
        curves = line.curves
        while len(self._lines) < len(curves):
            item = pg.PlotDataItem([], [], antialias=True)
            self._lines.append(item)
            self._plot.addItem(item)
        for number, item in enumerate(self._lines):
            curve = curves[number] if number < len(curves) else Curve("")
            item.setData(*thinned(curve.xs, curve.ys))
        self.show_legend(
            tuple(LegendEntry(curve.name, n) for n, curve in enumerate(curves))
        )
        for item, value in (
            (self._base_line, line.baseline),
            (self._limit_line, line.limit),
        ):
            item.setVisible(value is not None)
            if value is not None:
                item.setValue(value)
        self._last_text.setText(line.last_text)
        self._last_text.setPos(line.xs[-1], curves[0].ys[-1])
        self._fit_axes(line)
        self._place_last_text()
        self._restyle()
        self._plot.read()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        line = self._shown
        names = [f"{curve.name}, {line.axis}" for curve in line.curves]
        header = (
            line.x_axis.lower(),
            *(names if len(names) > 1 else [line.axis.lower()]),
        )
        columns = (line.xs, *(curve.ys for curve in line.curves))
        rows = list(zip(*columns, strict=True))
        if not line.last_text:
            return [header, *rows]
        last = (*rows[-1], line.last_text.lower())
        return [(*header, ""), *((*row, "") for row in rows[:-1]), last]

    @Slot()
    def _place_last_text(self) -> None:
        """Put the label of the last point where no curve is; hide it without room."""
        line = self._shown
        if self._body is None or not line.xs or not line.last_text:
            self._last_text.hide()
            return
        box = self._plot.getViewBox()
        curves = [
            [
                box.mapFromView(QPointF(x, y))
                for x, y in zip(curve.xs, curve.ys, strict=True)
            ]
            for curve in line.curves
        ]
        size = self._last_text.textItem.boundingRect().size()
        for up in _places(size.height(), is_above_first=_is_above(line.curves[0].ys)):
            area = QRectF(curves[0][-1] - QPointF(size.width(), up), size)
            text = area.adjusted(*_TEXT_EDGES)
            is_free = not any(_crosses(curve, text) for curve in curves)
            is_free = is_free and not self._covers_label(area)
            if is_free and box.rect().contains(area):
                self._last_text.setAnchor((1.0, up / size.height()))
                self._last_text.show()
                return
        self._last_text.hide()

    def _covers_label(self, area: QRectF) -> bool:
        """Return whether an area covers the label of the baseline or the limit."""
        box = self._plot.getViewBox()
        for dashed, up in ((self._base_line, 0.0), (self._limit_line, 1.0)):
            place = box.mapFromView(QPointF(0.0, dashed.value()))
            size = dashed.label.textItem.boundingRect().size()
            width = _LABEL_PLACE * box.width() + size.width()
            label = QRectF(0.0, place.y() - up * size.height(), width, size.height())
            if dashed.isVisible() and label.intersects(area):
                return True
        return False

    def _fit_axes(self, line: Line) -> None:
        if line.has_whole_xs:
            self._plot.set_ticks(_whole_ticks)
            across = padded(-0.15, line.last_x + 0.15)
        else:
            self._plot.set_ticks(None)
            across = padded(0.0, line.last_x)
        values = [limit(c.ys) for c in line.curves for limit in (min, max)]
        values += [x for x in (line.baseline, line.limit) if x is not None]
        low, high = min(values), max(values)
        bottom = 0.0 if line.from_zero else low
        extent = max(high - bottom, _MIN_RANGE * abs(high))
        extent = extent or 1 / _PADDING  # only zeros
        top = high + _PADDING * extent
        if not line.from_zero:
            bottom -= _BOTTOM_ROOM * extent
        if low >= 0:
            bottom = max(bottom, -_DOT_ROOM * top)  # no ticks below zero
        self._plot.fit(across, (bottom, top))

    @override
    def _reading_at(self, place: QPointF) -> Reading | None:
        line = self._shown
        if not line.xs:
            return None
        index = nearest(line.xs, place.x())
        x = line.xs[index]
        if line.has_whole_xs and len(line.xs) > index + 1 and line.xs[index + 1] == x:
            index += 1  # the later of two points at the same x, as after recovery
        is_last = index == len(line.xs) - 1
        lines = [line.last_text if is_last and line.last_text else line.format_x(x)]
        points = []
        for curve in line.curves:
            y = curve.ys[index]
            name = f"{curve.name} " if curve.name else ""
            lines.append(f"{name}{line.format_y(y)}")
            points.append((x, y))
        return Reading(x, "\n".join(lines), tuple(points))

    @override
    def _apply_theme(self) -> None:
        theme, line = theme_of(self), self._shown
        self._plot.label_axes(line.axis, line.x_axis)
        self._plot.restyle(theme)
        width = 2 if len(line.xs) <= _MAX_WIDE_POINTS else 1
        for number, item in enumerate(self._lines):
            color = QColor(theme.series[number % len(theme.series)])
            item.setPen(pg.mkPen(color, width=width))
            item.setSymbol("o" if line.has_whole_xs else None)
            item.setSymbolSize(_DOT)
            item.setSymbolBrush(pg.mkBrush(color))
            item.setSymbolPen(pg.mkPen(theme.surface))
            is_filled = line.from_zero and len(line.curves) == 1
            item.setFillLevel(0.0 if is_filled else None)
            shade = QColor(color)
            shade.setAlpha(36)
            item.setFillBrush(shade if is_filled else None)
        for dashed, ink in (
            (self._base_line, theme.muted),
            (self._limit_line, theme.bad),
        ):
            dashed.setPen(pg.mkPen(ink, dash=_DASHES))
            dashed.label.setColor(ink)
        self._last_text.setColor(theme.muted)


def _places(height: float, *, is_above_first: bool) -> Iterator[float]:
    """Yield how far above a point the top of its label may be, the closest first."""
    for shift in range(0, _MAX_SHIFT + 1, _SHIFT):
        above, below = height + shift, -float(shift)
        yield from (above, below) if is_above_first else (below, above)


def _is_above(ys: Sequence[float]) -> bool:
    """Return whether the last value is above the mean of the two before it."""
    before = ys[-3:-1]
    return len(before) > 1 and ys[-1] > sum(before) / len(before)


def _crosses(curve: Sequence[QPointF], area: QRectF) -> bool:
    """Return whether a curve of straight pieces is within an area anywhere."""
    for start, end in itertools.pairwise(curve):
        first, last = sorted((start, end), key=QPointF.x)
        left, right = max(first.x(), area.left()), min(last.x(), area.right())
        if left > right:
            continue
        run = last.x() - first.x()
        shares = [(x - first.x()) / run for x in (left, right)] if run else [0.0, 1.0]
        heights = [first.y() + share * (last.y() - first.y()) for share in shares]
        if min(heights) <= area.bottom() and max(heights) >= area.top():
            return True
    return False


def thinned(
    xs: Sequence[float], ys: Sequence[float], max_points: int = MAX_POINTS_DRAWN
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points, or the lows and highs of stretches if there are too many."""
    x, y = np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)
    if len(x) <= max_points:
        return x, y
    length = -(-len(y) // (max_points // 2))  # points per stretch, which keeps two
    stretches = np.pad(y, (0, -len(y) % length), mode="edge").reshape(-1, length)
    start = np.arange(len(stretches)) * length
    ends = (0, len(y) - 1)
    lows, highs = start + stretches.argmin(axis=1), start + stretches.argmax(axis=1)
    is_kept = np.zeros(len(y), dtype=bool)
    is_kept[np.concatenate([lows, highs, ends]).clip(max=len(y) - 1)] = True
    return x[is_kept], y[is_kept]


def nearest(xs: Sequence[float], x: float) -> int:
    """Return the index of the first of the values in sorted `xs` nearest to `x`."""
    index = bisect_left(xs, x)
    if index == 0:
        return 0
    if index == len(xs) or x - xs[index - 1] <= xs[index] - x:
        return bisect_left(xs, xs[index - 1])
    return index


def _whole_ticks(
    low: float, high: float, max_ticks: int = 12
) -> list[tuple[float, str]]:
    """Return at most about `max_ticks` evenly spaced integers from `low` to `high`.

    For a range above 100 they are multiples of a round number.
    """
    first, last = max(0, math.ceil(low)), math.floor(high)
    step = max(1, math.ceil((last - first) / max_ticks))
    if last - first > _MAX_EXACT_TICK:
        unit = 10 ** (len(str(step)) - 1)
        step = unit * next(n for n in (1, 2, 5, 10) if n * unit >= step)
    start = first + -first % step
    return [(float(x), str(x)) for x in range(start, last + 1, step)]
