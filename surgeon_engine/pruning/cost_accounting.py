"""Account for the costs of a shot, for display; nothing is selected by it.

The histogram has the costs that the selection compares: raw, or per weight. Total costs
are always raw: the predicted increase of the loss. Methods that remove evenly rank
their candidates; ranks are not added up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import CostBasis
from surgeon_engine.api.messages.run import CostHistogram
from surgeon_engine.pruning.threshold import ElementCosts, Removals

BINS = 60
_MAX_DECADES = 15  # below the largest cost; smaller costs are counted as the last


def cost_histogram(
    units: Mapping[str, Removals | ElementCosts], removed: Mapping[str, Tensor]
) -> CostHistogram | None:
    """Return the costs of the removable candidates; None if none has a cost."""
    scale = _scale([unit.cost for unit in units.values()])
    if scale is None:
        return None
    low, high = scale
    counts = torch.zeros(2, BINS, dtype=torch.int64)
    weights = torch.zeros(2, BINS, dtype=torch.int64)
    for name, unit in units.items():
        has_cost = _has_cost(unit.cost)
        bins = _bins(unit.cost[has_cost], low, high)
        is_removed = _in_order(unit, removed[name])[has_cost]
        for row, mask in enumerate((is_removed, ~is_removed)):
            count = torch.bincount(bins[mask], minlength=BINS)
            counts[row] += count
            if isinstance(unit, ElementCosts):
                weights[row] += count
            else:
                weights[row].index_add_(0, bins[mask], unit.weights[has_cost][mask])
    step = (high - low) / BINS
    return CostHistogram(
        tuple(10 ** (low + step * i) for i in range(BINS + 1)),
        tuple(counts[0].tolist()),
        tuple(counts[1].tolist()),
        tuple(weights[0].tolist()),
        tuple(weights[1].tolist()),
    )


def total_cost(
    unit: Removals | ElementCosts, removed: Tensor, basis: CostBasis
) -> float:
    """Return the sum of the raw costs of what a shot newly removes from a unit."""
    is_new = _in_order(unit, removed) & _has_cost(unit.cost)
    if isinstance(unit, ElementCosts):
        return float(unit.cost[is_new].double().sum())
    return float(raw_costs(unit, basis)[is_new].sum())


def raw_costs(unit: Removals, basis: CostBasis) -> Tensor:
    """Return the predicted increase of the loss by the weights newly removed.  Shape n.

    All candidates of a bundle have the bundle's cost; the first has all its weights.
    """
    if basis is CostBasis.PER_PARAMETER:
        return unit.cost * unit.weights
    return unit.cost * (unit.weights > 0)


def _in_order(unit: Removals | ElementCosts, removed: Tensor) -> Tensor:
    """Return the removed candidates as a mask in the order of the unit's costs."""
    removed = removed.cpu()
    return removed[unit.candidate] if isinstance(unit, Removals) else removed


def _has_cost(cost: Tensor) -> Tensor:
    """Return True for candidates that are removable and not removed before."""
    return (cost >= 0) & (cost < torch.inf)


def _scale(costs: list[Tensor]) -> tuple[float, float] | None:
    """Return the decimal logarithms of the smallest and the largest positive cost."""
    smallest, largest = math.inf, 0.0
    for cost in costs:
        positive = cost[(cost > 0) & (cost < torch.inf)]
        if len(positive):
            smallest = min(smallest, float(positive.min()))
            largest = max(largest, float(positive.max()))
    if largest == 0:
        return None
    high = math.log10(largest)
    low = max(math.log10(smallest), high - _MAX_DECADES)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    return low, high


def _bins(cost: Tensor, low: float, high: float) -> Tensor:
    position = (cost.log10() - low) * (BINS / (high - low))
    return position.clamp(0, BINS - 1).long()  # -inf of a zero is clamped, too
