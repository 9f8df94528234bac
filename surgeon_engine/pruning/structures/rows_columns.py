"""Rows and columns of each layer, independent of other layers, as in the paper.

Candidates 0 to R-1 are the rows, R to R+C-1 the columns; the bias is no candidate, but
is removed with its row. Removing r rows and c columns removes r (C + bias) + c (R - r)
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import CostBasis, PruningConfig
from surgeon_engine.curvature.measured import Measured
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.planning.rounding import ceil_share
from surgeon_engine.pruning.methods.base import MatrixMethod, MeasuredLayer
from surgeon_engine.pruning.methods.quadratic import UpdatingMethod
from surgeon_engine.pruning.threshold import Removals


class Kind(Enum):
    """The kinds of candidates in a layer."""

    ROW = "row"
    COLUMN = "column"


@dataclass(frozen=True, slots=True, eq=False)
class RowsOrColumns:
    """The rows, the columns, or both of one layer."""

    measured: PrunableLayer
    method: MatrixMethod
    kinds: Sequence[Kind]

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The measured layer."""
        return (self.measured,)

    @property
    def candidates(self) -> int:
        """The number of rows and columns, R + C."""
        return self.measured.rows + self.measured.columns

    def removals(
        self, measured: Measured, before: Tensor, pruning: PruningConfig
    ) -> Removals:
        """Return the removable rows and columns: of each kind all but the last."""
        row, column = self._remaining(before)
        W, damping = self.measured.weight(), pruning.cost_damping
        R, C = int(row.sum()), int(column.sum())  # C with the bias
        of_row = W.new_zeros(R)
        of_column = W.new_zeros(int(column[: self.measured.columns].sum()))
        layer = MeasuredLayer(W, self.measured.columns, measured, damping)
        if Kind.ROW in self.kinds:
            of_row = self.method.row_costs(layer, row, column)
        if Kind.COLUMN in self.kinds:
            cost = self.method.column_costs(layer, row, column)
            of_column = cost[: len(of_column)]
        if pruning.cost_basis is CostBasis.PER_PARAMETER:
            of_row, of_column = of_row / C, of_column / R
        cost = torch.full((self.candidates,), -torch.inf, dtype=torch.float64)
        cost[~before] = torch.cat([of_row, of_column]).cpu().double()
        cost, candidate = cost.sort(stable=True)
        is_removable = self._is_removable(candidate)
        cost, candidate = cost[is_removable], candidate[is_removable]
        weights = self._newly_removed(candidate)
        kept = ceil_share(self.measured.weights, pruning.share_to_keep(self.layers))
        has_room = weights.cumsum(0) <= self.measured.weights - kept
        # Those removed before are not restored, even if the share is larger now.
        count = int((has_room | (cost == -torch.inf)).sum())
        return Removals(
            candidate[:count], cost[:count], weights[:count], self.candidates
        )

    def updated(
        self,
        measured: Measured,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        """Return W after the removal of rows and columns, and `after`."""
        if not isinstance(self.method, UpdatingMethod):
            [(_, mask)] = self.zeros(after)
            return self.measured.weight().masked_fill(mask, 0), after
        row, column = self._remaining(before)
        W = self.measured.weight()
        A, G = self.method.quadratic(W, measured)
        W, A, G = W[row][:, column], A[column][:, column], G[row][:, row]
        row_is_kept, column_is_kept = self._remaining(after)
        X = self.measured.weight().zero_()
        X[row.unsqueeze(1) & column] = self.method.prune_rows_columns(
            W, (A, G), ~row_is_kept[row], ~column_is_kept[column], pruning
        ).flatten()
        return X, after

    def zeros(self, removed: Tensor) -> list[tuple[PrunableLayer, Tensor]]:
        """Return the mask of the weights in removed rows or columns."""
        row, column = self._remaining(removed)
        return [(self.measured, ~(row.unsqueeze(1) & column))]

    def _remaining(self, removed: Tensor) -> tuple[Tensor, Tensor]:
        """Return masks of the rows (R) and columns (C, with a bias C+1) that remain."""
        removed = removed.to(self.measured.module.weight.device)
        row, column = removed.split([self.measured.rows, self.measured.columns])
        bias = column.new_zeros(int(self.measured.has_bias))
        return ~row, ~torch.cat([column, bias])

    def _is_removable(self, candidate: Tensor) -> Tensor:
        """Return a mask of the ordered candidates without the last row and column."""
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
