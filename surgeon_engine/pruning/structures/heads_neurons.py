"""KV groups of heads and MLP neurons; removing them leaves smaller dense matrices.

A group is a run of columns of the consumer (the output or down projection) and the
rows of the producers that compute its input. Without its columns nothing reads those
rows, so that they cost nothing: a group costs as much as its columns, and the update is
the column update of the consumer.

Where all groups are removed (`pruning/depth.py`), so is the bias of the consumer: the
attention or the MLP then adds nothing to the residual stream.

If the width of an MLP has to be a multiple of a number, neurons are removed in bundles
of the cheapest; the first bundle is the remainder of the width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import CostBasis, PruningConfig
from surgeon_engine.curvature.measured import Measured
from surgeon_engine.model.coupled_groups import CoupledGroups
from surgeon_engine.model.layers import ExpertsLayer, PrunableLayer
from surgeon_engine.planning.limits import bundle_of, groups_to_keep
from surgeon_engine.pruning.methods.base import MeasuredLayer, PruningMethod
from surgeon_engine.pruning.methods.quadratic import UpdatingMethod
from surgeon_engine.pruning.threshold import Removals


@dataclass(frozen=True, slots=True, eq=False)
class CoupledUnit:
    """The groups of one consumer; each group is a candidate."""

    coupled: CoupledGroups
    method: PruningMethod
    originally: int  # groups, before any was taken out of the model

    @property
    def measured(self) -> PrunableLayer:
        """The consumer."""
        return self.coupled.consumer

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The consumer and the producers."""
        return self.coupled.layers

    @property
    def parts(self) -> tuple[CoupledGroups, ...]:
        """The groups whose candidates follow one another."""
        return (self.coupled,)

    @property
    def candidates(self) -> int:
        """The number of groups of all parts."""
        return sum(part.groups for part in self.parts)

    def of_parts(self, candidates: Tensor) -> dict[str, Tensor]:
        """Return the candidates of each part by its name."""
        sizes = [part.groups for part in self.parts]
        names = [part.name for part in self.parts]
        return dict(zip(names, candidates.split(sizes), strict=True))

    def left(
        self, remaining: Sequence[Tensor], layers: Mapping[str, PrunableLayer]
    ) -> CoupledUnit:
        """Return the unit after all but some groups of each part have been removed.

        `remaining` has indices of the groups of each part, int64, ascending; `layers`
        are the smaller layers by name.
        """
        (groups,) = remaining
        return replace(self, coupled=self.coupled.left(groups, layers))

    def removals(
        self, measured: Measured, before: Tensor, pruning: PruningConfig
    ) -> Removals:
        """Return the removable groups: all but the minimum that is kept, at least 1."""
        if bool(before.all()):
            return self._all_removed()
        cost = self.costs(measured, before, pruning)
        groups = int((~before).sum())
        each = self.coupled.weights_per_group
        if pruning.cost_basis is CostBasis.PER_PARAMETER:
            cost = cost / each
        cost, candidate = self._sorted(cost)
        weights = torch.full_like(candidate, each)
        bundle = bundle_of(self.coupled.kind, pruning, self.coupled.classes)
        share = pruning.share_to_keep(self.layers)
        least = groups_to_keep(self.originally, share, bundle, self.coupled.least)
        kept = min(groups, least)
        count = self.candidates - kept
        cost, candidate, weights = cost[:count], candidate[:count], weights[:count]
        if bundle > 1:
            cost, weights = self._bundled(cost, weights, pruning)
        return Removals(candidate, cost, weights, self.candidates)

    def costs(
        self, measured: Measured, before: Tensor, pruning: PruningConfig
    ) -> Tensor:
        """Return the cost of each group, float64; -inf: removed before."""
        cost = torch.full((len(before),), -torch.inf, dtype=torch.float64)
        groups = int((~before).sum())
        is_matrix = not isinstance(self.measured, ExpertsLayer)
        layer = MeasuredLayer(
            self.measured.weight() if is_matrix else torch.empty(0),
            self.measured.columns,
            measured,
            pruning.cost_damping,
        )
        of_group = self.method.group_costs(layer, ~self._columns(before), groups)
        cost[~before] = of_group.cpu().double()
        return cost

    def updated(
        self,
        measured: Measured,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        """Return W of the consumer after the removal of groups, and `after`.

        W is empty if the kept weights do not change.
        """
        if not isinstance(self.method, UpdatingMethod) or bool(after.all()):
            return torch.empty(0), after
        W, remaining = self.measured.weight(), ~self._columns(before)
        A, G = self.method.quadratic(W, measured)
        W, A = W[:, remaining], A[remaining][:, remaining]
        is_removed = self._columns(after)[remaining]
        no_row = torch.zeros(len(W), dtype=torch.bool, device=W.device)
        X = self.measured.weight().zero_()
        X[:, remaining] = self.method.prune_rows_columns(
            W, (A, G), no_row, is_removed, pruning
        )
        return X, after

    def zeros(self, removed: Tensor) -> list[tuple[PrunableLayer, Tensor]]:
        """Return masks of the columns and rows of removed groups.

        Without any group, the consumer adds nothing: its bias is removed, too.
        """
        column = self._columns(removed)
        if bool(removed.all()):
            column = torch.ones_like(column)
        masks = [(self.measured, self.measured.mask_of(column))]
        for producer in self.coupled.producers:
            row = removed[producer.group_of_row].to(column.device)
            width = producer.layer.columns + producer.layer.has_bias
            masks.append((producer.layer, row.unsqueeze(1).expand(-1, width)))
        return masks

    @property
    def all_weights(self) -> int:
        """The number of weights of all groups, and of the consumer's bias."""
        bias = self.measured.rows * self.measured.has_bias
        return self.coupled.weights_per_group * self.coupled.groups + bias

    def removed_weights(self, removed: Tensor) -> int:
        """Return the number of weights of removed groups."""
        if bool(removed.all()):
            return self.all_weights
        return int(removed.sum()) * self.coupled.weights_per_group

    def _all_removed(self) -> Removals:
        """Return the groups of a unit without any: all were removed before."""
        weights = torch.full((self.candidates,), self.coupled.weights_per_group)
        weights[0] += self.measured.rows * self.measured.has_bias
        cost = torch.full((self.candidates,), -torch.inf, dtype=torch.float64)
        return Removals(torch.arange(self.candidates), cost, weights, self.candidates)

    def _columns(self, removed: Tensor) -> Tensor:
        """Return the mask of the columns of W (bias included) of the removed groups."""
        size = self.measured.columns // self.coupled.groups
        column = removed.repeat_interleave(size)
        column = torch.cat([column, column.new_zeros(int(self.measured.has_bias))])
        return column.to(self.measured.device)

    def _sorted(self, cost: Tensor) -> tuple[Tensor, Tensor]:
        """Return the costs in ascending order, and the groups that have them.

        With classes of groups, the cheapest of each come first, then the next of each.
        """
        by_class = cost.view(self.coupled.classes, -1)
        cost, candidate = by_class.sort(dim=1, stable=True)
        first = torch.arange(self.coupled.classes) * by_class.shape[1]
        candidate = candidate + first.unsqueeze(1)
        return cost.T.flatten(), candidate.T.flatten()

    def _bundled(
        self, cost: Tensor, weights: Tensor, pruning: PruningConfig
    ) -> tuple[Tensor, Tensor]:
        """Return costs and weights by which bundles are removed whole or not at all.

        All groups of a bundle have its cost, and the first has all of its weights: once
        that fits the budget, the others are free and follow it in any order by cost.
        """
        bundle = bundle_of(self.coupled.kind, pruning, self.coupled.classes)
        removed = int((cost == -torch.inf).sum())
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
        # Means of equal costs may be rounded differently in different bundles.
        return cost.cummax(dim=0).values, weights
