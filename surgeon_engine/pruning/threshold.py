"""Select the cheapest candidates of the whole model by one threshold on their costs.

Each unit (a layer, or a consumer with its producers) lists its removable candidates
with their costs. The costs of all units are merged and the weights added up, as
integers; candidates are selected until the next one would exceed the budget or, if the
budget must be reached, until it is. Equal costs are taken in the order of the units, so
that the same input gives the same result.

Candidates in thousands (`Removals`) have the number of weights that each *newly*
removes after those before it: a row and a column share one weight. For single weights
in millions (`ElementCosts`), the threshold is found by counting, without sorting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.base.errors import CurvatureError, PruningError

REMOVED = -1.0  # below every cost
_HALF = 16  # bits of a float32, taken in two halves


@dataclass(frozen=True, slots=True, eq=False)
class Removals:
    """The removable candidates of one unit, in the order of their costs."""

    candidate: Tensor  # n, int64: index of the candidate
    cost: Tensor  # n, float64, ascending; -inf: removed before
    weights: Tensor  # n, int64: newly removed by each
    candidates: int  # number in the unit, including those that must be kept


@dataclass(frozen=True, slots=True, eq=False)
class ElementCosts:
    """The single weights of one unit.

    They are removed `atom` at a time; the weights of an atom have equal costs and
    follow one another.
    """

    cost: Tensor  # candidates, float32, >= 0; REMOVED: before; inf: must be kept
    atom: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The selected candidates of all units."""

    removed: dict[str, Tensor]  # unit -> candidates, bool
    weights: int  # removed in total
    threshold: float | None  # the largest new cost; None: nothing new is removed


def cheapest(
    units: Mapping[str, Removals | ElementCosts], budget: int, *, reaches: bool = False
) -> Selection:
    """Select the cheapest candidates.

    `budget` is the maximum number of weights in total, and with `reaches` the minimum;
    single weights are as many anyway.

    Raises:
        CurvatureError: a cost is not a number.
        PruningError: fewer weights than `budget` can be removed.
    """
    for name, unit in units.items():
        check_not_nan(name, unit.cost)
    removals = {n: unit for n, unit in units.items() if isinstance(unit, Removals)}
    if removals:
        return _cheapest_removals(removals, budget, reaches=reaches)
    elements = {n: unit for n, unit in units.items() if isinstance(unit, ElementCosts)}
    return _cheapest_elements(elements, budget)


def cheapest_in_step(
    groups: Sequence[Mapping[str, Removals]], budget: int, *, reaches: bool = False
) -> Selection:
    """Select the cheapest candidates, equally many from each unit of a group.

    The k-th cheapest of all units of a group are removed together, at the mean of
    their costs.

    Raises:
        CurvatureError: a cost is not a number.
        PruningError: fewer weights than `budget` can be removed.
    """
    merged: dict[str, Removals | ElementCosts] = {}
    for number, units in enumerate(groups):
        for name, unit in units.items():
            check_not_nan(name, unit.cost)
        length = min(len(unit.cost) for unit in units.values())
        cost = torch.stack([unit.cost[:length] for unit in units.values()])
        weights = torch.stack([unit.weights[:length] for unit in units.values()])
        merged[str(number)] = Removals(
            torch.arange(length), cost.mean(dim=0), weights.sum(dim=0), length
        )
    selection = cheapest(merged, budget, reaches=reaches)
    removed: dict[str, Tensor] = {}
    for number, units in enumerate(groups):
        count = int(selection.removed[str(number)].sum())
        for name, unit in units.items():
            removed[name] = _first(unit, count)
    return Selection(removed, selection.weights, selection.threshold)


def check_not_nan(name: str, cost: Tensor) -> None:
    """Check that all costs of a layer can be ordered.

    Raises:
        CurvatureError: a cost of the layer is not a number.
    """
    if bool(cost.isnan().any()):
        raise CurvatureError(
            "Some costs of {name} are not numbers (NaN).",
            "Raise the damping, or use more calibration text.",
            name=name,
        )


def _cheapest_removals(
    units: Mapping[str, Removals], budget: int, *, reaches: bool
) -> Selection:
    cost = torch.cat([unit.cost for unit in units.values()])
    weights = torch.cat([unit.weights for unit in units.values()])
    owner = torch.cat(
        [torch.full_like(u.candidate, i) for i, u in enumerate(units.values())]
    )
    cost, order = cost.sort(stable=True)
    # In integers: float32 cannot count beyond 2^24 weights.
    total = weights[order].cumsum(0)
    _check_budget(budget, int(total[-1]) if len(total) else 0)
    if reaches and budget > 0:  # until the first candidate that reaches it
        gone = int(weights[order][cost == -torch.inf].sum())  # before, maybe beyond it
        budget = int(total[total >= max(budget, gone)][0])
    selected = int((total <= budget).sum())  # the last ones may be without weights
    per_unit = torch.bincount(owner[order[:selected]], minlength=len(units)).tolist()
    removed: dict[str, Tensor] = {}
    for (name, unit), count in zip(units.items(), per_unit, strict=True):
        removed[name] = _first(unit, count)
    largest = float(cost[selected - 1]) if selected else -torch.inf
    return Selection(
        removed,
        weights=int(total[selected - 1]) if selected else 0,
        threshold=largest if largest > -torch.inf else None,
    )


def _first(unit: Removals, count: int) -> Tensor:
    """Return the `count` cheapest as a mask of the candidates."""
    mask = torch.zeros(unit.candidates, dtype=torch.bool)
    mask[unit.candidate[:count]] = True
    return mask


def _cheapest_elements(units: Mapping[str, ElementCosts], budget: int) -> Selection:
    (atom,) = {unit.atom for unit in units.values()}
    count = budget // atom * atom
    removable = sum(int((unit.cost < torch.inf).sum()) for unit in units.values())
    _check_budget(count, removable)
    if count == 0:
        nothing = {n: torch.zeros(len(u.cost)).bool() for n, u in units.items()}
        return Selection(nothing, 0, None)
    threshold = _nth_smallest([unit.cost for unit in units.values()], count)
    ties = count - sum(int((unit.cost < threshold).sum()) for unit in units.values())
    removed: dict[str, Tensor] = {}
    for name, unit in units.items():
        mask = unit.cost < threshold
        tied = (unit.cost == threshold).nonzero().squeeze(1)[:ties]
        mask[tied] = True
        ties -= len(tied)
        removed[name] = mask
    is_new = threshold > REMOVED
    return Selection(removed, weights=count, threshold=threshold if is_new else None)


def _nth_smallest(costs: list[Tensor], n: int) -> float:
    """Return the n-th smallest (from 1) of all costs, exactly.

    The bits of non-negative floats are ordered like the floats, so that two histograms
    of 2^16 bins find the cost: by the upper half of its bits, then by the lower half
    among those with the same upper half. Removed weights are below all costs.
    """
    below = sum(int((cost < 0).sum()) for cost in costs)
    if n <= below:
        return REMOVED
    n -= below
    upper = torch.zeros(2**_HALF, dtype=torch.int64)
    for cost in costs:
        bits = _bits(cost) >> _HALF
        upper += torch.bincount(bits, minlength=2**_HALF)
    bucket, n = _bin_of(upper, n)
    lower = torch.zeros(2**_HALF, dtype=torch.int64)
    for cost in costs:
        bits = _bits(cost)
        bits = bits[bits >> _HALF == bucket] & (2**_HALF - 1)
        lower += torch.bincount(bits, minlength=2**_HALF)
    rest, _ = _bin_of(lower, n)
    bits = torch.tensor([(bucket << _HALF) + rest], dtype=torch.int32)
    return float(bits.view(torch.float32))


def _bits(cost: Tensor) -> Tensor:
    """Return the bits of the non-negative costs as integers."""
    return (cost[cost >= 0] + 0.0).view(torch.int32)  # + 0.0 turns -0.0 into 0.0


def _bin_of(counts: Tensor, n: int) -> tuple[int, int]:
    """Return the bin of the n-th smallest, and its rank among those in the bin."""
    total = counts.cumsum(0)
    index = int((total < n).sum())
    return index, n - (int(total[index - 1]) if index else 0)


def _check_budget(budget: int, max_removable: int) -> None:
    if budget > max_removable:
        raise PruningError(
            "{budget:,} weights should be removed, but only {most:,} can be: "
            "protected layers and the last of each kind in a layer are always kept.",
            "Lower the target, or protect less.",
            budget=budget,
            most=max_removable,
        )
