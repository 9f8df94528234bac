"""Single weights: anywhere in a layer, or in N:M patterns.

Candidates are the R x C weights, row by row. Under N:M, N of every M neighbors in a
row are kept, and the others of a group are removed together or not at all: the cheapest
way (`costs.pattern_costs`) is found first, and each weight of that set has an equal
part of the joint cost. Columns beyond the last whole group and the bias are kept.

Methods that remove evenly use ranks as costs: the share of a row, or of a layer, that
is not more expensive. One threshold on the ranks removes the same share everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.api.config.n_m import NM
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.curvature.measured import Measured
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.planning.rounding import ceil_share
from surgeon_engine.pruning.costs import ways_to_remove
from surgeon_engine.pruning.methods.base import Allocation, MatrixMethod, MeasuredLayer
from surgeon_engine.pruning.methods.quadratic import UpdatingMethod
from surgeon_engine.pruning.threshold import REMOVED, ElementCosts, check_not_nan


@dataclass(frozen=True, slots=True, eq=False)
class ElementsUnit:
    """The weights of one layer."""

    measured: PrunableLayer
    method: MatrixMethod

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The measured layer."""
        return (self.measured,)

    @property
    def candidates(self) -> int:
        """The number of weights, R C."""
        return self.measured.rows * self.measured.columns

    def removals(
        self, measured: Measured, before: Tensor, pruning: PruningConfig
    ) -> ElementCosts:
        """Return all weights with their costs; inf for those that must be kept."""
        W, damping = self.measured.weight(), pruning.cost_damping
        removed = before.view(self.measured.rows, -1).to(W.device)
        layer = MeasuredLayer(W, self.measured.columns, measured, damping)
        if (pattern := pruning.n_m) is not None:
            cost, chosen = self.method.pattern_costs(layer, pattern)
            cost = self._costs_in_groups(cost, chosen, removed, pattern)
            atom = pattern.removed
        else:
            cost = self.method.element_costs(layer)
            cost = cost[:, : self.measured.columns]
            check_not_nan(self.measured.name, cost)
            cost = _spread(cost.masked_fill(removed, -1), self.method.allocation)
            atom = 1
        cost = cost.masked_fill(removed, REMOVED).float().flatten().cpu()
        min_share = pruning.share_to_keep(self.layers)
        return ElementCosts(_within_limit(cost, atom, min_share), atom)

    def _costs_in_groups(
        self, cost: Tensor, chosen: Tensor, removed: Tensor, pattern: NM
    ) -> Tensor:
        """Return the costs of groups, at the weights they would lose.  R x C."""
        kept, of = pattern.kept, pattern.of
        check_not_nan(self.measured.name, cost)
        is_removed = removed[:, : cost.shape[1] * of].unflatten(1, (-1, of)).any(dim=2)
        cost = _spread(cost.masked_fill(is_removed, -1), self.method.allocation)
        cost = cost.masked_fill(is_removed, torch.inf)  # keeps its other weights
        return _by_weight(cost, chosen, self.measured.columns, kept, of)

    def updated(
        self,
        measured: Measured,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        """Return W after the removal of single weights, and the removed ones."""
        del before  # W has zeros there
        W = self.measured.weight()
        is_removed = removed = after.view(self.measured.rows, -1).to(W.device)
        if isinstance(self.method, UpdatingMethod):
            quadratic = self.method.quadratic(W, measured)
            X, removed = self.method.prune_elements(W, quadratic, is_removed, pruning)
        else:
            X = W.clone()
            X[:, : self.measured.columns][is_removed] = 0
        if (pattern := pruning.n_m) is not None:
            _check_groups(X, removed, pattern.kept, pattern.of)
        return X, removed.flatten().cpu()

    def zeros(self, removed: Tensor) -> list[tuple[PrunableLayer, Tensor]]:
        """Return the mask of the removed weights, with the column of the bias."""
        is_removed = removed.view(self.measured.rows, -1)
        bias = is_removed.new_zeros(self.measured.rows, int(self.measured.has_bias))
        return [(self.measured, torch.cat([is_removed, bias], dim=1))]


def _spread(cost: Tensor, allocation: Allocation) -> Tensor:
    """Return the costs, or their ranks as shares, by allocation.  Shape of cost."""
    match allocation:
        case Allocation.GLOBAL:
            return cost
        case Allocation.ROW:
            return _ranks(cost)
        case Allocation.LAYER:
            return _ranks(cost.flatten().unsqueeze(0)).view_as(cost)


def _ranks(cost: Tensor) -> Tensor:
    """Return the rank of each cost in its row, from 1, over the length of the row."""
    order = cost.argsort(dim=1, stable=True)
    numbers = torch.arange(1, cost.shape[1] + 1, device=cost.device, dtype=cost.dtype)
    found = torch.empty_like(cost)
    found.scatter_(1, order, numbers.expand_as(cost).contiguous())
    return found / cost.shape[1]


def _by_weight(
    cost: Tensor, chosen: Tensor, columns: int, kept: int, of: int
) -> Tensor:
    """Spread the costs of groups over their weights; inf for kept ones."""
    removed = ways_to_remove(kept, of).to(chosen.device)[
        chosen
    ]  # R x groups x (of - kept)
    of_group = cost.new_full((*cost.shape, of), torch.inf)
    of_group.scatter_(2, removed, (cost / (of - kept)).unsqueeze(2).expand_as(removed))
    result = cost.new_full((len(cost), columns), torch.inf)
    result[:, : of_group.shape[1] * of] = of_group.flatten(1)
    return result


def _check_groups(X: Tensor, removed: Tensor, kept: int, of: int) -> None:
    """Check that every pruned group keeps exactly N of its M weights."""
    whole = removed.shape[1] - removed.shape[1] % of
    count = removed[:, :whole].unflatten(1, (-1, of)).sum(dim=2)
    is_right = bool(((count == 0) | (count == of - kept)).all())
    if not is_right or bool(X[:, : removed.shape[1]][removed].any()):
        raise RuntimeError(f"A group of {of} does not keep exactly {kept}.")


def _within_limit(cost: Tensor, atom: int, min_share: float) -> Tensor:
    """Return the costs, with inf for the share of weights that a layer has to keep.

    Weights removed before are not restored, even if the share is larger now.
    """
    if not min_share:
        return cost
    max_removed = len(cost) - ceil_share(len(cost), min_share)
    max_removed = max_removed // atom * atom
    order = cost.argsort(stable=True)
    beyond = order[max(max_removed, int((cost == REMOVED).sum())) :]
    cost = cost.clone()
    cost[beyond] = torch.inf
    return cost
