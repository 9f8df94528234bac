"""Whole KV groups and MLP neurons: what leaves plain, smaller, dense matrices.

A group is a run of columns of the consumer (the output or down projection) and the
rows of the producers that make its input. Once its columns are gone nobody reads those
rows, which therefore cost nothing: the cost is that of the columns alone, counted once,
and the update is the column update of the consumer alone.

Where the width of an MLP is to be a multiple of some number, neurons go in bundles, the
cheapest together; the first bundle is what is over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import CostBasis, PruningConfig
from surgeon_engine.api.planning.limits import bundle_of, groups_to_keep
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.model.coupling import CoupledGroups
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.pruning.costs import column_group_costs
from surgeon_engine.pruning.methods.base import PruningMethod
from surgeon_engine.pruning.structures.base import Updated, share_to_keep
from surgeon_engine.pruning.threshold import Removals


@dataclass(frozen=True, slots=True, eq=False)
class CoupledUnit:
    """The groups of one consumer; each group is a candidate."""

    coupled: CoupledGroups
    method: PruningMethod
    originally: int  # groups, of which some may be out of the model by now

    @property
    def measured(self) -> PrunableLayer:
        """The consumer."""
        return self.coupled.consumer

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The consumer and the producers."""
        return (
            self.measured,
            *(producer.layer for producer in self.coupled.producers),
        )

    @property
    def candidates(self) -> int:
        """The number of groups."""
        return self.coupled.groups

    def removals(
        self, factors: KroneckerFactors, before: Tensor, pruning: PruningConfig
    ) -> Removals:
        """See `Unit.removals`; at least one group always stays."""
        W, A, G, _ = self._alive(factors, before)
        stiffness = self.method.stiffness(A, pruning.fixed_damping.cost)
        cost = torch.full((self.candidates,), -torch.inf, dtype=torch.float64)
        left = int((~before).sum())
        cost[~before] = column_group_costs(W, G, stiffness, left).cpu()
        each = self.coupled.weights_per_group
        if pruning.cost_basis is CostBasis.PER_PARAMETER:
            cost = cost / each
        cost, candidate = cost.sort(stable=True)
        weights = torch.full_like(candidate, each)
        most = self.candidates - self._least(left, pruning)
        cost, candidate, weights = cost[:most], candidate[:most], weights[:most]
        if self._bundle(pruning) > 1:
            cost, weights = self._bundled(cost, weights, pruning)
        return Removals(candidate, cost, weights, self.candidates)

    def updated(
        self,
        factors: KroneckerFactors,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> Updated:
        """See `Unit.updated`."""
        W, A, G, alive = self._alive(factors, before)
        goes = self._columns(after)[alive]
        no_row = torch.zeros(len(W), dtype=torch.bool, device=W.device)
        X = self.measured.weight().zero_()
        X[:, alive] = self.method.without(W, (A, G), no_row, goes, pruning)
        changed = [(self.measured, X)]
        for layer, is_removed in self.zeros(after)[1:]:
            changed.append((layer, layer.weight().masked_fill(is_removed, 0)))
        return Updated(changed, after)

    def zeros(self, removed: Tensor) -> list[tuple[PrunableLayer, Tensor]]:
        """See `Unit.zeros`."""
        column = self._columns(removed)
        masks = [(self.measured, column.expand(self.measured.rows, -1))]
        for producer in self.coupled.producers:
            row = removed[producer.group_of_row].to(column.device)
            width = producer.layer.columns + producer.layer.has_bias
            masks.append((producer.layer, row.unsqueeze(1).expand(-1, width)))
        return masks

    def _alive(
        self, factors: KroneckerFactors, removed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """W, A and G without the columns that are gone, in float64; which stay."""
        W = self.measured.weight()
        A, G = self.method.quadratic(W, factors)
        alive = ~self._columns(removed)
        return W[:, alive], A[alive][:, alive], G, alive

    def _columns(self, removed: Tensor) -> Tensor:
        """Which columns of W, the bias included, belong to a group that is gone."""
        size = self.measured.columns // self.coupled.groups
        column = removed.repeat_interleave(size)
        column = torch.cat([column, column.new_zeros(int(self.measured.has_bias))])
        return column.to(self.measured.module.weight.device)

    def _bundle(self, pruning: PruningConfig) -> int:
        """How many go together; heads are never bundled."""
        return bundle_of(self.coupled.kind, pruning)

    def _least(self, left: int, pruning: PruningConfig) -> int:
        """How many groups have to stay."""
        share = share_to_keep(self.layers, pruning)
        least = groups_to_keep(self.originally, share, self._bundle(pruning))
        return min(left, least)

    def _bundled(
        self, cost: Tensor, weights: Tensor, pruning: PruningConfig
    ) -> tuple[Tensor, Tensor]:
        """Costs and weights with which a bundle's groups go together or not at all.

        All have the bundle's cost, and the first has all of its weights: whoever can
        pay for it gets the others for nothing, and they follow it in any order by cost.
        """
        bundle, removed = self._bundle(pruning), int((cost == -torch.inf).sum())
        first = (self.candidates - removed) % bundle or bundle
        cost, weights = cost.clone(), weights.clone()
        start, end = removed, removed + first
        while start < len(cost):
            members = cost[start:end]
            raw = pruning.cost_basis is CostBasis.RAW
            cost[start:end] = members.sum() if raw else members.mean()
            weights[start] = weights[start:end].sum()
            weights[start + 1 : end] = 0
            start, end = end, end + bundle
        # The mean of equal costs may round to more than that of another bundle of them.
        return cost.cummax(dim=0).values, weights
