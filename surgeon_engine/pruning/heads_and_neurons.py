"""Whole KV groups and MLP neurons: what leaves plain, smaller, dense matrices.

A group is a run of columns of the consumer (the output or down projection) and the
rows of the producers that make its input. Once its columns are gone nobody reads those
rows, which therefore cost nothing: the cost is that of the columns alone, counted once,
and the update is the column update of the consumer alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.config import CostBasis, PruningConfig
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.linalg import damped, inverse
from surgeon_engine.model.coupling import CoupledGroups
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.pruning.costs import column_group_costs
from surgeon_engine.pruning.threshold import Removals
from surgeon_engine.pruning.update import fold_columns


@dataclass(frozen=True, slots=True, eq=False)
class CoupledUnit:
    """The groups of one consumer; each group is a candidate."""

    coupled: CoupledGroups

    @property
    def measured(self) -> PrunableLayer:
        """The consumer."""
        return self.coupled.consumer

    @property
    def candidates(self) -> int:
        """The number of groups."""
        return self.coupled.groups

    def removals(
        self, factors: KroneckerFactors, before: Tensor, pruning: PruningConfig
    ) -> Removals:
        """See `Unit.removals`; the most expensive group always stays."""
        W, A, _ = self._alive(factors, before)
        G, inverse_A = factors.G.double(), inverse(damped(A, pruning.cost_damping))
        cost = torch.full((self.candidates,), -torch.inf, dtype=torch.float64)
        groups = int((~before).sum())
        cost[~before] = column_group_costs(W, G, inverse_A, groups).cpu()
        if pruning.cost_basis is CostBasis.PER_PARAMETER:
            cost = cost / self.coupled.weights_per_group
        cost, candidate = cost.sort(stable=True)
        weights = torch.full_like(candidate, self.coupled.weights_per_group)
        return Removals(candidate[:-1], cost[:-1], weights[:-1], self.candidates)

    def updated(
        self,
        factors: KroneckerFactors,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> list[tuple[PrunableLayer, Tensor]]:
        """See `Unit.updated`."""
        W, A, alive = self._alive(factors, before)
        goes = self._columns(after).to(W.device)
        X = self.measured.weight().zero_()
        X[:, alive] = fold_columns(W, damped(A, pruning.update_damping), goes[alive])
        changed = [(self.measured, X)]
        for producer in self.coupled.producers:
            V = producer.weight()
            V[self._spread(after, producer.rows).to(V.device)] = 0
            changed.append((producer, V))
        return changed

    def removed_weights(self, gone: Tensor) -> list[tuple[PrunableLayer, int]]:
        """See `Unit.removed_weights`."""
        count, groups = int(gone.sum()), self.coupled.groups
        consumer = self.measured
        removed = count * consumer.rows * (consumer.columns // groups)
        return [(consumer, removed)] + [
            (producer, count * (producer.weights // groups))
            for producer in self.coupled.producers
        ]

    def _alive(
        self, factors: KroneckerFactors, gone: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """W and A without the columns that are gone, in float64; which ones stay."""
        W = self.measured.weight()
        alive = ~self._columns(gone).to(W.device)
        return W[:, alive], factors.A.double()[alive][:, alive], alive

    def _columns(self, gone: Tensor) -> Tensor:
        """Which columns of W, the bias included, belong to a group that is gone."""
        column = self._spread(gone, self.measured.columns)
        return torch.cat([column, column.new_zeros(int(self.measured.has_bias))])

    def _spread(self, gone: Tensor, size: int) -> Tensor:
        """Which of `size` rows or columns belong to a group that is gone."""
        return gone.repeat_interleave(size // self.coupled.groups)
