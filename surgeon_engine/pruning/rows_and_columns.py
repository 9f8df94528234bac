"""The paper's structure: rows and columns of each layer, independent of other layers.

Candidates 0 to R-1 are the rows, R to R+C-1 the columns; the bias is no candidate,
but goes with its row. With r rows and c columns gone, r (C + bias) + c (R - r) weights
are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.config import CostBasis, PruningConfig, UpdateKind
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.linalg import damped, inverse_diagonal
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.pruning.costs import column_costs, row_costs
from surgeon_engine.pruning.threshold import Removals
from surgeon_engine.pruning.update import joint_update, separate_update

_UPDATES = {UpdateKind.JOINT: joint_update, UpdateKind.SEPARATE: separate_update}


@dataclass(frozen=True, slots=True, eq=False)
class RowsAndColumns:
    """The rows and columns of one layer."""

    measured: PrunableLayer

    @property
    def candidates(self) -> int:
        """R + C."""
        return self.measured.rows + self.measured.columns

    def removals(
        self, factors: KroneckerFactors, before: Tensor, pruning: PruningConfig
    ) -> Removals:
        """See `Unit.removals`."""
        R = self.measured.rows
        W, A, G, _ = self._alive(factors, before)
        damping = pruning.cost_damping
        row = row_costs(W, A, inverse_diagonal(damped(G, damping)))
        column = column_costs(W, G, inverse_diagonal(damped(A, damping)))
        if self.measured.has_bias:
            column = column[:-1]
        if pruning.cost_basis is CostBasis.PER_PARAMETER:
            row, column = row / W.shape[1], column / W.shape[0]
        cost = torch.full((self.candidates,), -torch.inf, dtype=torch.float64)
        cost[~before] = torch.cat([row, column]).cpu()

        cost, candidate = cost.sort(stable=True)
        may_go = _all_but_the_last(candidate, R)
        cost, candidate = cost[may_go], candidate[may_go]
        return Removals(
            candidate, cost, self._newly_removed(candidate), self.candidates
        )

    def updated(
        self,
        factors: KroneckerFactors,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> list[tuple[PrunableLayer, Tensor]]:
        """See `Unit.updated`."""
        W, A, G, (row, column) = self._alive(factors, before)
        row_goes, column_goes = self._removed(after.to(W.device))
        update = _UPDATES[pruning.update]
        X = self.measured.weight().zero_()
        X[row.unsqueeze(1) & column] = update(
            W,
            damped(A, pruning.update_damping),
            damped(G, pruning.update_damping),
            row_goes[row],
            column_goes[column],
        ).flatten()
        return [(self.measured, X)]

    def removed_weights(self, gone: Tensor) -> list[tuple[PrunableLayer, int]]:
        """See `Unit.removed_weights`."""
        row, column = self._removed(gone)
        r, c = int(row.sum()), int(column.sum())
        width = self.measured.columns + self.measured.has_bias
        return [(self.measured, r * width + c * (self.measured.rows - r))]

    def _newly_removed(self, candidate: Tensor) -> Tensor:
        R = self.measured.rows
        width = self.measured.columns + self.measured.has_bias
        is_row = candidate < R
        r, c = is_row.cumsum(0), (~is_row).cumsum(0)
        removed = r * width + c * (R - r)
        return removed.diff(prepend=removed.new_zeros(1))

    def _alive(
        self, factors: KroneckerFactors, gone: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        """W, A and G without what is gone, in float64; which rows and columns stay."""
        W = self.measured.weight()
        row, column = (~removed for removed in self._removed(gone.to(W.device)))
        return (
            W[row][:, column],
            factors.A.double()[column][:, column],
            factors.G.double()[row][:, row],
            (row, column),
        )

    def _removed(self, gone: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows (R) and which columns (C, or C+1 with a bias) are gone."""
        row, column = gone.split([self.measured.rows, self.measured.columns])
        bias = column.new_zeros(int(self.measured.has_bias))
        return row, torch.cat([column, bias])


def _all_but_the_last(candidate: Tensor, R: int) -> Tensor:
    """Which of the ordered candidates may go: not the last row, nor the last column."""
    may_go = torch.ones_like(candidate, dtype=torch.bool)
    is_row = candidate < R
    for kind in (is_row, ~is_row):
        may_go[kind.nonzero()[-1]] = False
    return may_go
