"""The paper's structure: rows and columns of each layer, independent of other layers.

Candidates 0 to R-1 are the rows, R to R+C-1 the columns; the bias is no candidate,
but goes with its row. With r rows and c columns gone, r (C + bias) + c (R - r) weights
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import CostBasis, PruningConfig
from surgeon_engine.api.planning.rounding import ceil_share
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.pruning.costs import column_costs, row_costs
from surgeon_engine.pruning.methods.base import PruningMethod
from surgeon_engine.pruning.structures.base import Updated, share_to_keep
from surgeon_engine.pruning.threshold import Removals


class Kind(Enum):
    """What may go of a layer."""

    ROW = "row"
    COLUMN = "column"


@dataclass(frozen=True, slots=True, eq=False)
class RowsOrColumns:
    """The rows, the columns, or both of one layer."""

    measured: PrunableLayer
    method: PruningMethod
    kinds: Sequence[Kind]

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The layer alone."""
        return (self.measured,)

    @property
    def candidates(self) -> int:
        """R + C."""
        return self.measured.rows + self.measured.columns

    def removals(
        self, factors: KroneckerFactors, before: Tensor, pruning: PruningConfig
    ) -> Removals:
        """See `Unit.removals`; the last row and the last column always stay."""
        row, column = self._alive(before)
        W, A, G = self._quadratic(factors, row, column)
        damping = pruning.fixed_damping.cost
        of_row, of_column = W.new_zeros(W.shape[0]), W.new_zeros(W.shape[1])
        if Kind.ROW in self.kinds:
            of_row = row_costs(W, A, self.method.stiffness(G, damping))
        if Kind.COLUMN in self.kinds:
            of_column = column_costs(W, G, self.method.stiffness(A, damping))
        of_column = of_column[: int(column[: self.measured.columns].sum())]
        if pruning.cost_basis is CostBasis.PER_PARAMETER:
            of_row, of_column = of_row / W.shape[1], of_column / W.shape[0]
        cost = torch.full((self.candidates,), -torch.inf, dtype=torch.float64)
        cost[~before] = torch.cat([of_row, of_column]).cpu()
        cost, candidate = cost.sort(stable=True)
        is_removable = self._is_removable(candidate)
        cost, candidate = cost[is_removable], candidate[is_removable]
        weights = self._newly_removed(candidate)
        share = share_to_keep(self.layers, pruning)
        affordable = _affordable(weights, cost, self.measured.weights, share)
        return Removals(
            candidate[:affordable],
            cost[:affordable],
            weights[:affordable],
            self.candidates,
        )

    def updated(
        self,
        factors: KroneckerFactors,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> Updated:
        """See `Unit.updated`."""
        row, column = self._alive(before)
        W, A, G = self._quadratic(factors, row, column)
        row_stays, column_stays = self._alive(after)
        X = self.measured.weight().zero_()
        X[row.unsqueeze(1) & column] = self.method.without(
            W, (A, G), ~row_stays[row], ~column_stays[column], pruning
        ).flatten()
        return Updated([(self.measured, X)], after)

    def zeros(self, removed: Tensor) -> list[tuple[PrunableLayer, Tensor]]:
        """See `Unit.zeros`."""
        row, column = self._alive(removed)
        return [(self.measured, ~(row.unsqueeze(1) & column))]

    def _quadratic(
        self, factors: KroneckerFactors, row: Tensor, column: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """W, A and G of what is alive, in float64."""
        W = self.measured.weight()
        A, G = self.method.quadratic(W, factors)
        return W[row][:, column], A[column][:, column], G[row][:, row]

    def _alive(self, removed: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows (R) and which columns (C, or C+1 with a bias) stay."""
        removed = removed.to(self.measured.module.weight.device)
        row, column = removed.split([self.measured.rows, self.measured.columns])
        bias = column.new_zeros(int(self.measured.has_bias))
        return ~row, ~torch.cat([column, bias])

    def _is_removable(self, candidate: Tensor) -> Tensor:
        """Which of the ordered candidates may go: of each kind all but the last."""
        is_removable = torch.zeros_like(candidate, dtype=torch.bool)
        is_row = candidate < self.measured.rows
        for kind, is_kind in ((Kind.ROW, is_row), (Kind.COLUMN, ~is_row)):
            if kind in self.kinds:
                is_removable[is_kind.nonzero()[:-1]] = True
        return is_removable

    def _newly_removed(self, candidate: Tensor) -> Tensor:
        R = self.measured.rows
        width = self.measured.columns + self.measured.has_bias
        is_row = candidate < R
        r, c = is_row.cumsum(0), (~is_row).cumsum(0)
        removed = r * width + c * (R - r)
        return removed.diff(prepend=removed.new_zeros(1))


def _affordable(weights: Tensor, cost: Tensor, in_all: int, keeps: float) -> int:
    """How many may go, in order, before the layer's least share would be touched.

    What has gone before stays gone, whatever is asked for now.
    """
    total = weights.cumsum(0)
    most = in_all - ceil_share(in_all, keeps)
    return int(((total <= most) | (cost == -torch.inf)).sum())
