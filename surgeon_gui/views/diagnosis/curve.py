"""Chart of predicted perplexity over sparsity, with a draggable target.

The curve is the perplexity at best, and a band reaches up to what runs have measured.

x   removed share of the prunable weights
y   perplexity on a log scale, which is the loss that is predicted
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QSignalBlocker, Signal, Slot
from typing_extensions import override

from surgeon_gui.base.theme import theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.diagnosis.costs import Floats
from surgeon_gui.state.diagnosis.state import MeasuredPoint
from surgeon_gui.state.diagnosis.text import MEASURED_RISE, measured_loss
from surgeon_gui.text import numbers
from surgeon_gui.widgets.charts.plot import PagePlot, PlotCard, padded
from surgeon_gui.widgets.controls import text_label

_DOT = 9
_DASHES = (6, 4)
_MAX_GROWTH = math.log(20)  # of perplexity; higher values are clipped
_MIN_GROWTH = 0.25
_MARGIN = 0.06  # of the height, above and below
_TICKS = (1, 1.5, 2, 3, 5, 7)  # of perplexity, in each decade
_MAX_TICKS = 6  # more would overlap in a low chart
_LABEL = {"position": 0.92, "movable": False}
_BASE_ANCHORS = [(1.0, 1.0), (1.0, 1.0)]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The data of a `QualityCurve`."""

    shares: Floats  # of the prunable weights
    losses: Floats
    baseline: float  # loss
    target: float | None  # share
    points: Sequence[MeasuredPoint]

    @property
    def measured_losses(self) -> Floats:
        """The losses up to which the band reaches."""
        return self.baseline + MEASURED_RISE * (self.losses - self.baseline)


class QualityCurve(PlotCard):
    """Chart of the predicted quality."""

    target_dragged = Signal(float)  # share of the prunable weights

    def __init__(self) -> None:
        super().__init__(
            "forecast",
            tr("Predicted quality, at best"),
            tr("Diagnose the model to see the predicted quality for each target."),
        )
        self._shown: Prediction | None = None
        self._note = text_label(quiet=True, name="forecast_note")
        self._layout.addWidget(self._note)

    @override
    def _add_items(self, plot: PagePlot) -> None:
        plot.set_ticks("bottom", _percent_ticks)
        plot.set_ticks("left", _perplexity_ticks)
        self._base_line = pg.InfiniteLine(
            angle=0,
            label=tr("original"),
            labelOpts={"position": 0.99, "anchors": _BASE_ANCHORS},
        )
        self._curve = pg.PlotDataItem([], [], antialias=True)
        self._upper = pg.PlotDataItem([], [], antialias=True)
        self._band = pg.FillBetweenItem(self._curve, self._upper)
        self._dots = pg.ScatterPlotItem([], [], size=_DOT, symbol="o")
        self._recovered_dots = pg.ScatterPlotItem([], [], size=_DOT + 3, symbol="d")
        self._target = pg.InfiniteLine(
            angle=90, movable=True, label="", labelOpts=_LABEL
        )
        self._target.sigPositionChanged.connect(self._on_dragged)
        for item in (
            self._base_line,
            self._band,
            self._curve,
            self._upper,
            self._dots,
            self._recovered_dots,
            self._target,
        ):
            plot.addItem(item)

    @override
    def hasHeightForWidth(self) -> bool:
        return False  # the note wraps, but the plot shrinks instead

    def show_prediction(self, prediction: Prediction | None) -> None:
        """Show a prediction; for None, show how to get one."""
        self._shown = prediction
        self.show_as_empty(prediction is None)
        self._note.setVisible(prediction is not None)
        if prediction is None:
            return
        self._curve.setData(prediction.shares * 100, prediction.losses)
        self._upper.setData(prediction.shares * 100, prediction.measured_losses)
        self._base_line.setValue(prediction.baseline)
        self._show_points(prediction.points)
        self._fit_axes(prediction)
        self.show_target(prediction.target)

    def show_target(self, share: float | None) -> None:
        """Move the target line, and label it with the prediction."""
        shown = self._shown
        if shown is None:
            return
        self._target.setVisible(share is not None)
        self._note.setText(_note(shown.points))
        if share is None:
            return
        loss = float(np.interp(share, shown.shares, shown.losses))
        with QSignalBlocker(self._target):
            self._target.setValue(share * 100)
        label = tr("{share}: {best} to {worse}").format(
            share=numbers.percent(share),
            best=_perplexity(loss),
            worse=_perplexity(measured_loss(shown.baseline, loss)),
        )
        is_right = share > 0.5
        self._target.label.setFormat(label)
        anchor = (1.05, 0.5) if is_right else (-0.05, 0.5)
        self._target.label.anchors = [anchor, anchor]
        self._target.label.updatePosition()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        header: tuple[object, ...] = ("sparsity", "perplexity", "kind")
        if self._shown is None:
            return [header]
        rows: list[tuple[object, ...]] = [header]
        for kind, losses in (
            ("at best", self._shown.losses),
            ("up to", self._shown.measured_losses),
        ):
            for x, y in zip(self._shown.shares, losses, strict=True):
                rows.append((float(x), math.exp(min(float(y), 700.0)), kind))
        for point in self._shown.points:
            kind = "measured, recovered" if point.is_recovered else "measured"
            rows.append((point.sparsity, point.perplexity, kind))
        return rows

    @Slot(object)
    def _on_dragged(self, line: object) -> None:
        share = min(0.95, max(0.0, float(self._target.value()) / 100))
        self.target_dragged.emit(share)

    def _show_points(self, points: Sequence[MeasuredPoint]) -> None:
        for item, recovered in ((self._dots, False), (self._recovered_dots, True)):
            selected = [p for p in points if p.is_recovered is recovered]
            item.setData(
                [p.sparsity * 100 for p in selected],
                [math.log(max(p.perplexity, 1e-9)) for p in selected],
            )

    def _fit_axes(self, shown: Prediction) -> None:
        last = float(shown.shares[-1])
        ceiling = shown.baseline + _MAX_GROWTH
        tops = [math.log(p.perplexity) for p in shown.points if p.perplexity > 0]
        top = max([min(float(shown.measured_losses[-1]), ceiling), *tops])
        top = min(max(top, shown.baseline + _MIN_GROWTH), ceiling)
        lows = [shown.baseline, *tops]
        room = _MARGIN * (top - min(lows))
        right = min(100.0, math.ceil(last * 10) * 10)
        self._plot.fit(padded(0.0, right), (min(lows) - room, top + room))

    @override
    def _apply_theme(self) -> None:
        theme = theme_of(self)
        self._plot.restyle(theme)
        labels = (
            tr("Perplexity (per token), log"),
            tr("Removed share of prunable weights (%)"),
        )
        self._plot.name_axes(theme.muted, *labels)
        self._curve.setPen(pg.mkPen(theme.accent, width=1))
        self._upper.setPen(None)
        self._band.setBrush(pg.mkBrush(theme.accent_soft))
        for dots in (self._dots, self._recovered_dots):
            dots.setBrush(pg.mkBrush(theme.text))
            dots.setPen(pg.mkPen(theme.surface))
        self._target.setPen(pg.mkPen(theme.accent, width=2))
        self._target.setHoverPen(pg.mkPen(theme.text, width=2))
        self._target.label.setColor(theme.text)
        self._target.label.fill = pg.mkBrush(theme.surface)
        self._base_line.setPen(pg.mkPen(theme.muted, dash=_DASHES))
        self._base_line.label.setColor(theme.muted)


def _perplexity(loss: float) -> str:
    return (
        numbers.perplexity(math.exp(loss)) if loss < 20 else ">10\N{SUPERSCRIPT EIGHT}"
    )


def _percent_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return ticks at round shares between two percentages."""
    step = next(n for n in (1, 2, 5, 10) if n == 10 or (high - low) / n <= _MAX_TICKS)
    first = math.ceil(max(0.0, low) / step) * step
    return [(float(x), str(x)) for x in range(first, int(min(high, 100.0)) + 1, step)]


def _perplexity_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return ticks at round perplexities between two losses."""
    first, last = math.floor(low / math.log(10)), math.ceil(high / math.log(10))
    steps: tuple[float, ...] = _TICKS
    if high - low < 1.0:
        steps = tuple(x / 10 for x in range(10, 100, 1 if high - low < 0.4 else 2))
    values = [
        step * 10.0**decade for decade in range(first, last + 1) for step in steps
    ]
    ticks: list[tuple[float, str]] = []
    for value in values:
        loss = math.log(value)
        has_room = not ticks or loss - ticks[-1][0] >= (high - low) / _MAX_TICKS
        if low <= loss <= high and has_room:
            ticks.append((loss, numbers.short(value)))
    return ticks


def _note(points: Sequence[MeasuredPoint]) -> str:
    note = tr(
        "Line: at best, without interaction of removals. Band: up to what runs of one "
        "shot have measured, a rise of the loss three times as large."
    )
    if not points:
        # Not in the f-string: the extraction of messages would miss it there.
        hint = tr("Results of runs will be added to the chart.")
        return f"{note} {hint}"
    shots = tr("Dots: measured after shots.")
    recovered = tr("Diamonds: after recovery.")
    has_last = any(point.is_recovered for point in points)
    return f"{note} {shots} {recovered}" if has_last else f"{note} {shots}"
