"""What the removals of a shot cost, for people to look at; nothing is chosen by it.

Costs are those by which was chosen: raw, or per weight. What a layer has paid is always
raw, the predicted rise of the loss. Where a method spreads removals evenly, costs are
places in an order, and nothing is said to have been paid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import CostBasis
from surgeon_engine.api.messages.run import CostHistogram
from surgeon_engine.pruning.threshold import Elements, Removals

BINS = 60
_MAX_DECADES = 15  # below the largest cost; what is less is as good as nothing


def cost_histogram(
    units: Mapping[str, Removals | Elements], removed: Mapping[str, Tensor]
) -> CostHistogram | None:
    """The costs of what could have gone of `units`; None: nothing has a cost."""
    scale = _scale([unit.cost for unit in units.values()])
    if scale is None:
        return None
    low, high = scale
    counts = torch.zeros(2, BINS, dtype=torch.int64)
    weights = torch.zeros(2, BINS, dtype=torch.int64)
    for name, unit in units.items():
        has_cost = _has_cost(unit.cost)
        place = _bins(unit.cost[has_cost], low, high)
        goes = _in_order(unit, removed[name])[has_cost]
        for row, mine in enumerate((goes, ~goes)):
            count = torch.bincount(place[mine], minlength=BINS)
            counts[row] += count
            if isinstance(unit, Elements):
                weights[row] += count
            else:
                weights[row].index_add_(0, place[mine], unit.weights[has_cost][mine])
    step = (high - low) / BINS
    return CostHistogram(
        tuple(10 ** (low + step * i) for i in range(BINS + 1)),
        tuple(counts[0].tolist()),
        tuple(counts[1].tolist()),
        tuple(weights[0].tolist()),
        tuple(weights[1].tolist()),
    )


def total_cost(unit: Removals | Elements, removed: Tensor, basis: CostBasis) -> float:
    """The raw costs of what goes of a unit now, added up."""
    goes = _in_order(unit, removed) & _has_cost(unit.cost)
    if isinstance(unit, Elements):
        return float(unit.cost[goes].double().sum())
    return float(raw_costs(unit, basis)[goes].sum())


def raw_costs(unit: Removals, basis: CostBasis) -> Tensor:
    """What each removal adds to the loss, for the weights that it newly removes.

    Candidates of a bundle all have the bundle's cost, and one has all its weights.
    """
    if basis is CostBasis.PER_PARAMETER:
        return unit.cost * unit.weights
    return unit.cost * (unit.weights > 0)


def _in_order(unit: Removals | Elements, removed: Tensor) -> Tensor:
    """Which of those with a cost go, in the order in which the unit lists them."""
    removed = removed.cpu()
    return removed[unit.candidate] if isinstance(unit, Removals) else removed


def _has_cost(cost: Tensor) -> Tensor:
    """What has not gone before, and may go."""
    return (cost >= 0) & (cost < torch.inf)


def _scale(costs: list[Tensor]) -> tuple[float, float] | None:
    """The decimal logarithms of the smallest and the largest cost above zero."""
    least, most = math.inf, 0.0
    for cost in costs:
        positive = cost[(cost > 0) & (cost < torch.inf)]
        if len(positive):
            least = min(least, float(positive.min()))
            most = max(most, float(positive.max()))
    if most == 0:
        return None
    high = math.log10(most)
    low = max(math.log10(least), high - _MAX_DECADES)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    return low, high


def _bins(cost: Tensor, low: float, high: float) -> Tensor:
    place = (cost.log10() - low) * (BINS / (high - low))
    return place.clamp(0, BINS - 1).long()  # -inf of a zero is clamped, too
