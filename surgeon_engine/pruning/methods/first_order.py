"""First-order gates: costs from the gradients of the loss by the parts to remove.

`curvature/gates.py` has the formulas. There is no quadratic of the weights, and so no
update: recovery adapts the remaining weights.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from surgeon_engine.api.config.pruning import NM
from surgeon_engine.curvature.gates import GateGradients
from surgeon_engine.pruning.costs import sum_pattern_costs
from surgeon_engine.pruning.methods.base import Measured, Needs, PruningMethod


class FirstOrder(PruningMethod):
    """Costs from squared gate gradients."""

    needs: ClassVar = Needs.GATES

    @override
    def group_costs(
        self,
        W: Tensor,
        measured: Measured,
        remaining: Tensor,
        groups: int,
        damping: float,
    ) -> Tensor:
        gates = _gates(measured)
        assert gates.columns is not None
        kept = remaining[: gates.columns.shape[1]].to(gates.columns.device)
        return gates.of_columns(kept).column_group_costs(groups)

    @override
    def row_costs(
        self, W: Tensor, measured: Measured, row: Tensor, column: Tensor, damping: float
    ) -> Tensor:
        return _gates(measured).row_costs()[row.cpu()]

    @override
    def column_costs(
        self, W: Tensor, measured: Measured, row: Tensor, column: Tensor, damping: float
    ) -> Tensor:
        cost = _gates(measured).column_costs()
        return cost[column[: len(cost)].cpu()]

    @override
    def element_costs(self, W: Tensor, measured: Measured, damping: float) -> Tensor:
        return _gates(measured).element_costs(W)

    @override
    def pattern_costs(
        self, W: Tensor, measured: Measured, columns: int, pattern: NM, damping: float
    ) -> tuple[Tensor, Tensor]:
        cost = _gates(measured).element_costs(W)
        return sum_pattern_costs(cost, pattern.kept, pattern.of)


def _gates(measured: Measured) -> GateGradients:
    assert isinstance(measured, GateGradients)
    return measured
