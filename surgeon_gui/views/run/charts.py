"""Charts of a run that offer a choice: quality, costs; and the map of its layers."""

from __future__ import annotations

from PySide6.QtCore import Slot
from typing_extensions import override

from surgeon_engine.api.messages.run import LayerSparsity
from surgeon_gui.base.translation import tr
from surgeon_gui.state.charts import (
    BarUnit,
    cost_bars,
    cost_rows,
    quality_line,
)
from surgeon_gui.state.experts import EXPERTS
from surgeon_gui.state.quality import NAMES, Quality, measures
from surgeon_gui.state.run import RunState
from surgeon_gui.text import numbers
from surgeon_gui.text.chart_values import Cell
from surgeon_gui.widgets.charts.bar_chart import BarChart
from surgeon_gui.widgets.charts.chart_card import MEASURE_LENGTH
from surgeon_gui.widgets.charts.heat_map import HeatMapCard, HeatMapSizes
from surgeon_gui.widgets.charts.line_chart import LineChart
from surgeon_gui.widgets.choice_box import ChoiceBox

_UNITS: dict[object, str] = {
    BarUnit.WEIGHTS: tr("Weights"),
    BarUnit.REMOVALS: tr("Removals"),
}
_ROOM = HeatMapSizes(text=34, scale=44)
_SCALE = ("0", "50", "100 %")


class QualityChart(LineChart):
    """Fidelity, perplexity or loss of the original and after each shot."""

    def __init__(self, chosen: Quality = Quality.LOSS) -> None:
        super().__init__(
            "perplexity",
            tr("Quality"),
            tr("Starts with the original; each shot adds a point."),
        )
        self._run = RunState()
        self._chosen = chosen  # shown for each run that has it
        self._measure = ChoiceBox("perplexity_measure_combo", MEASURE_LENGTH)
        self.add_control(self._measure)
        self._measure.offer(NAMES, self._chosen)
        self._measure.currentIndexChanged.connect(self._on_measure_chosen)

    def show_run(self, run: RunState) -> None:
        """Show the evaluations of a run."""
        if _is_same(
            run, self._run, "baseline", "history", "recovered", "config", "shots"
        ):
            return
        self._run = run
        offered = {measure: NAMES[measure] for measure in measures([run])}
        self._measure.offer(offered, self._chosen)
        self._redraw()

    @Slot()
    def _on_measure_chosen(self) -> None:
        self._chosen = self._measure.value
        self._redraw()

    @Slot()
    def _redraw(self) -> None:
        self.show_line(quality_line(self._run, self._measure.value))


class CostChart(BarChart):
    """Distribution of the costs in the latest shot, with the threshold."""

    def __init__(self) -> None:
        super().__init__(
            "costs",
            tr("Cost distribution"),
            tr("Shows the costs of the candidates in each shot, and the threshold."),
        )
        self._run = RunState()
        self._measure = ChoiceBox("costs_measure_combo")
        self._measure.offer(_UNITS)
        self.add_control(self._measure)
        self._measure.currentIndexChanged.connect(self._redraw)

    def show_run(self, run: RunState) -> None:
        """Show the costs of the latest shot of a run."""
        if _is_same(run, self._run, "history", "config"):
            return
        self._run = run
        self._redraw()

    @override
    def rows(self) -> list[tuple[object, ...]]:
        return cost_rows(self._run)

    @Slot()
    def _redraw(self) -> None:
        self.show_bars(cost_bars(self._run, self._measure.value))


class LayerMap(HeatMapCard):
    """Heat map with a row for each layer kind and a column for each block."""

    def __init__(self) -> None:
        super().__init__(
            "sparsity",
            tr("What is removed, per layer"),
            tr("Shows the sparsity of each layer once the texts are ready."),
            _ROOM,
        )
        self._run = RunState()

    def show_run(self, run: RunState) -> None:
        """Show the layers of a run."""
        if _is_same(run, self._run, "history", "model"):
            return
        before, self._run = self._run, run
        if run.layers != before.layers:
            self.show_cells([_cell(layer) for layer in run.layers], _SCALE)

    @override
    def rows(self) -> list[tuple[object, ...]]:
        header = ("layer", "block", "kind", "weights", "removed", "sparsity")
        return [
            header,
            *(
                (x.name, x.block, x.kind, x.weights, x.removed, x.sparsity)
                for x in self._run.layers
            ),
        ]


def _cell(layer: LayerSparsity) -> Cell:
    tip = tr("{name}\n{sparsity} removed: {removed} of {weights} weights").format(
        name=layer.name,
        sparsity=numbers.percent(layer.sparsity),
        removed=numbers.count(layer.removed),
        weights=numbers.count(layer.weights),
    )
    if layer.groups is not None and layer.groups.kind == EXPERTS:
        text = tr("{removed} of {n} experts")
        kept, of = layer.groups.kept, layer.groups.of
        tip += "\n" + text.format(removed=of - kept, n=of)
    if layer.neurons is not None:
        text = tr("{removed} of {n} neurons of each other")
        kept, of = layer.neurons.kept, layer.neurons.of
        tip += "\n" + text.format(removed=of - kept, n=of)
    label = f"{layer.sparsity * 100:.0f}"
    return Cell(layer.kind, layer.block, layer.sparsity, label, tip, layer.name)


def _is_same(run: RunState, shown: RunState, *fields: str) -> bool:
    """Return whether two states of a run have the same objects in these fields.

    Only what has changed is drawn again.
    """
    return all(getattr(run, name) is getattr(shown, name) for name in fields)
