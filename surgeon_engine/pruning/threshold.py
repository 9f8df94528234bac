"""One threshold for the whole model: what is cheapest anywhere goes first.

Each unit (a layer, or a consumer with its producers) says what may go of it and what
that costs. The costs of all units are merged and the weights added up, in whole
numbers; removals are taken until the next one would pass the budget. Equal costs go in
the order of the units, so that the same input gives the same result.

Where candidates are thousands (`Removals`), each comes with the weights that it *newly*
removes once those before it are gone: a row and a column share one weight. Where they
are millions of single weights (`Elements`), the threshold is found by counting, without
sorting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.api.errors import CurvatureError, PruningError

REMOVED = -1.0  # below every cost
_HALF = 16  # bits of a float32, taken in two halves


@dataclass(frozen=True, slots=True, eq=False)
class Removals:
    """What may go of one unit, in the order in which it would go."""

    candidate: Tensor  # n, int64: which of the unit's candidates
    cost: Tensor  # n, float64, ascending; -inf: has gone before
    weights: Tensor  # n, int64: newly removed by each
    candidates: int  # of the unit, those included that must stay


@dataclass(frozen=True, slots=True, eq=False)
class Elements:
    """The single weights of one unit, `atom` of which only go together.

    Those that go together have equal costs and follow one another.
    """

    cost: Tensor  # candidates, float32, 0 or more; GONE: before; inf: must stay
    atom: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """What goes, in all units."""

    removed: dict[str, Tensor]  # unit -> candidates, bool
    weights: int  # removed in all
    threshold: float | None  # the largest cost that is paid; None: nothing new goes


def cheapest(units: Mapping[str, Removals | Elements], budget: int) -> Selection:
    """The cheapest removals that take at most `budget` weights.

    Raises:
        CurvatureError: a cost is not a number.
        PruningError: the budget is more than may be removed.
    """
    for name, unit in units.items():
        check_not_nan(name, unit.cost)
    removals = {n: unit for n, unit in units.items() if isinstance(unit, Removals)}
    if removals:
        return _cheapest_removals(removals, budget)
    elements = {n: unit for n, unit in units.items() if isinstance(unit, Elements)}
    return _cheapest_elements(elements, budget)


def cheapest_in_step(
    groups: Sequence[Mapping[str, Removals]], budget: int
) -> Selection:
    """The same, but all units of a group lose equally many candidates.

    The k-th cheapest of every unit of a group go together, at the mean of their costs.

    Raises:
        CurvatureError: a cost is not a number.
        PruningError: the budget is more than may be removed.
    """
    steps: dict[str, Removals | Elements] = {}
    for number, units in enumerate(groups):
        for name, unit in units.items():
            check_not_nan(name, unit.cost)
        length = min(len(unit.cost) for unit in units.values())
        cost = torch.stack([unit.cost[:length] for unit in units.values()])
        weights = torch.stack([unit.weights[:length] for unit in units.values()])
        steps[str(number)] = Removals(
            torch.arange(length), cost.mean(dim=0), weights.sum(dim=0), length
        )
    chosen = cheapest(steps, budget)
    removed: dict[str, Tensor] = {}
    for number, units in enumerate(groups):
        count = int(chosen.removed[str(number)].sum())
        for name, unit in units.items():
            removed[name] = _first(unit, count)
    return Selection(removed, chosen.weights, chosen.threshold)


def check_not_nan(name: str, cost: Tensor) -> None:
    """Let no cost pass that has no place in an order.

    Raises:
        CurvatureError: a cost of the layer is not a number.
    """
    if bool(cost.isnan().any()):
        raise CurvatureError(
            f"The costs of {name} are not numbers.",
            "Raise the damping or use more calibration text.",
        )


def _cheapest_removals(units: Mapping[str, Removals], budget: int) -> Selection:
    cost = torch.cat([unit.cost for unit in units.values()])
    weights = torch.cat([unit.weights for unit in units.values()])
    owner = torch.cat(
        [torch.full_like(u.candidate, i) for i, u in enumerate(units.values())]
    )
    cost, order = cost.sort(stable=True)
    # Whole numbers throughout: float32 loses count at 2^24 weights.
    total = weights[order].cumsum(0)
    _check_budget(budget, int(total[-1]) if len(total) else 0)
    taken = int((total <= budget).sum())
    per_unit = torch.bincount(owner[order[:taken]], minlength=len(units)).tolist()
    removed: dict[str, Tensor] = {}
    for (name, unit), count in zip(units.items(), per_unit, strict=True):
        removed[name] = _first(unit, count)
    dearest = float(cost[taken - 1]) if taken else -torch.inf
    return Selection(
        removed,
        weights=int(total[taken - 1]) if taken else 0,
        threshold=dearest if dearest > -torch.inf else None,
    )


def _first(unit: Removals, count: int) -> Tensor:
    """The `count` cheapest.  candidates, bool."""
    mask = torch.zeros(unit.candidates, dtype=torch.bool)
    mask[unit.candidate[:count]] = True
    return mask


def _cheapest_elements(units: Mapping[str, Elements], budget: int) -> Selection:
    (atom,) = {unit.atom for unit in units.values()}
    count = budget // atom * atom
    is_removable = sum(int((unit.cost < torch.inf).sum()) for unit in units.values())
    _check_budget(count, is_removable)
    if count == 0:
        nothing = {n: torch.zeros(len(u.cost)).bool() for n, u in units.items()}
        return Selection(nothing, 0, None)
    threshold = _nth_smallest([unit.cost for unit in units.values()], count)
    ties = count - sum(int((unit.cost < threshold).sum()) for unit in units.values())
    removed: dict[str, Tensor] = {}
    for name, unit in units.items():
        goes = unit.cost < threshold
        at = (unit.cost == threshold).nonzero().squeeze(1)[:ties]
        goes[at] = True
        ties -= len(at)
        removed[name] = goes
    is_new = threshold > REMOVED
    return Selection(removed, weights=count, threshold=threshold if is_new else None)


def _nth_smallest(costs: list[Tensor], n: int) -> float:
    """The n-th smallest (from 1) of all numbers, exactly.

    The bits of floats that are not negative are ordered as the floats are, so that two
    counts over 2^16 bins find the number: by the upper half of its bits, then by the
    lower half among those that share the upper one. What is gone counts as below all.
    """
    below = sum(int((cost < 0).sum()) for cost in costs)
    if n <= below:
        return REMOVED
    wanted = n - below
    upper = torch.zeros(2**_HALF, dtype=torch.int64)
    for cost in costs:
        bits = _bits(cost) >> _HALF
        upper += torch.bincount(bits, minlength=2**_HALF)
    bucket, wanted = _bin_of(upper, wanted)
    lower = torch.zeros(2**_HALF, dtype=torch.int64)
    for cost in costs:
        bits = _bits(cost)
        bits = bits[bits >> _HALF == bucket] & (2**_HALF - 1)
        lower += torch.bincount(bits, minlength=2**_HALF)
    last, _ = _bin_of(lower, wanted)
    number = torch.tensor([(bucket << _HALF) + last], dtype=torch.int32)
    return float(number.view(torch.float32))


def _bits(cost: Tensor) -> Tensor:
    """The bits of those that are 0 or more, as whole numbers."""
    return (cost[cost >= 0] + 0.0).view(torch.int32)  # + 0.0 makes -0.0 a plain zero


def _bin_of(counts: Tensor, n: int) -> tuple[int, int]:
    """The bin in which the n-th falls, and its place among those in the bin."""
    total = counts.cumsum(0)
    place = int((total < n).sum())
    return place, n - (int(total[place - 1]) if place else 0)


def _check_budget(budget: int, most: int) -> None:
    if budget > most:
        raise PruningError(
            f"{budget:,} weights are to go, but only {most:,} may: the last of each "
            "kind in each layer and what is protected have to stay.",
            "Lower the target, or protect less.",
        )
