"""First-order gates: costs from the gradients of the loss by the parts to remove.

`curvature/measured.py` has the formulas. There is no quadratic of the weights, and so
no update: recovery adapts the remaining weights.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from surgeon_engine.api.config.n_m import NM
from surgeon_engine.curvature.measured import GateGradients
from surgeon_engine.pruning.costs import sum_pattern_costs
from surgeon_engine.pruning.methods.base import (
    Allocation,
    MatrixMethod,
    MeasuredLayer,
    Needs,
)


class FirstOrder(MatrixMethod):
    """Costs from squared gate gradients."""

    needs: ClassVar = Needs.GATES
    allocation: ClassVar = Allocation.GLOBAL

    @override
    def group_costs(self, layer: MeasuredLayer, column: Tensor, groups: int) -> Tensor:
        gates = _gates(layer)
        assert gates.columns is not None
        kept = column[: layer.columns].to(gates.columns.device)
        left = GateGradients(gates.tokens, columns=gates.columns[:, kept])
        return left.column_group_costs(groups)

    @override
    def row_costs(self, layer: MeasuredLayer, row: Tensor, column: Tensor) -> Tensor:
        return _gates(layer).row_costs()[row.cpu()]

    @override
    def column_costs(self, layer: MeasuredLayer, row: Tensor, column: Tensor) -> Tensor:
        return _gates(layer).column_costs()[column[: layer.columns].cpu()]

    @override
    def element_costs(self, layer: MeasuredLayer) -> Tensor:
        return _gates(layer).element_costs(layer.W)

    @override
    def pattern_costs(self, layer: MeasuredLayer, pattern: NM) -> tuple[Tensor, Tensor]:
        return sum_pattern_costs(self.element_costs(layer), pattern.kept, pattern.of)


def _gates(layer: MeasuredLayer) -> GateGradients:
    assert isinstance(layer.measured, GateGradients)
    return layer.measured
