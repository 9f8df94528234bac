"""Map of the sparsity of each layer."""

from __future__ import annotations

from typing_extensions import override

from surgeon_engine.api.messages.run import LayerSparsity
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState
from surgeon_gui.text import numbers
from surgeon_gui.text.chart_values import Cell
from surgeon_gui.widgets.charts.heat_map import HeatMapCard, HeatMapSizes

_ROOM = HeatMapSizes(text=34, scale=44)
_SCALE = ("0", "50", "100 %")


class LayerMap(HeatMapCard):
    """Heat map with a row for each layer kind and a column for each block."""

    def __init__(self) -> None:
        super().__init__(
            "sparsity",
            tr("Sparsity by block and layer"),
            tr("Shows the sparsity of each layer once the model is loaded."),
            _ROOM,
        )
        self._layers: tuple[LayerSparsity, ...] = ()

    def show_run(self, run: RunState) -> None:
        """Show the layers of a run."""
        if run.layers != self._layers:
            self._layers = run.layers
            self.show_cells([_cell(layer) for layer in run.layers], _SCALE)

    @override
    def rows(self) -> list[tuple[object, ...]]:
        header = ("layer", "block", "kind", "weights", "removed", "sparsity")
        return [
            header,
            *(
                (x.name, x.block, x.kind, x.weights, x.removed, x.sparsity)
                for x in self._layers
            ),
        ]


def _cell(layer: LayerSparsity) -> Cell:
    tip = tr("{name}\n{sparsity} removed: {removed} of {weights} weights").format(
        name=layer.name,
        sparsity=numbers.percent(layer.sparsity),
        removed=numbers.count(layer.removed),
        weights=numbers.count(layer.weights),
    )
    label = f"{layer.sparsity * 100:.0f}"
    return Cell(layer.kind, layer.block, layer.sparsity, label, tip, layer.name)
