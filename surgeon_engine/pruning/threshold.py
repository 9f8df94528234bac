"""One threshold for the whole model: what is cheapest anywhere goes first.

Each unit (a layer, or a consumer with its producers) lists its removals in ascending
order of cost, with the weights that each of them *newly* removes once those before it
are gone: a row and a column of the same layer share one weight. The lists are merged
by cost and the weights added up, in whole numbers; removals are taken until the next
one would pass the budget. Equal costs go in the order of the units, so that the same
input gives the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.errors import CurvatureError, PruningError


@dataclass(frozen=True, slots=True, eq=False)
class Removals:
    """What may go of one unit, in the order in which it would go."""

    candidate: Tensor  # n, int64: which of the unit's candidates
    cost: Tensor  # n, float64, ascending; -inf: has gone before
    weights: Tensor  # n, int64: newly removed by each
    candidates: int  # of the unit, those included that must stay


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """What goes, in all units."""

    removed: dict[str, Tensor]  # unit -> candidates, bool
    weights: int  # removed in all
    threshold: float | None  # the largest cost that is paid; None: nothing goes


def cheapest(removals: Mapping[str, Removals], budget: int) -> Selection:
    """The cheapest removals that take at most `budget` weights.

    Raises:
        CurvatureError: a cost is not a number.
        PruningError: the budget is more than may be removed.
    """
    for name, unit in removals.items():
        if bool(unit.cost.isnan().any()):
            raise CurvatureError(
                f"The costs of {name} are not numbers.",
                "Raise the damping or use more calibration text.",
            )
    cost = torch.cat([unit.cost for unit in removals.values()])
    weights = torch.cat([unit.weights for unit in removals.values()])
    owner = torch.cat(
        [torch.full_like(u.candidate, i) for i, u in enumerate(removals.values())]
    )
    cost, order = cost.sort(stable=True)
    # Whole numbers throughout: float32 loses count at 2^24 weights.
    total = weights[order].cumsum(0)
    if budget > int(total[-1]):
        raise PruningError(
            f"{budget:,} weights are to go, but only {int(total[-1]):,} may: "
            "the last of each kind in each layer has to stay.",
            "Lower the target.",
        )
    taken = int((total <= budget).sum())
    per_unit = torch.bincount(owner[order[:taken]], minlength=len(removals)).tolist()
    removed: dict[str, Tensor] = {}
    for (name, unit), count in zip(removals.items(), per_unit, strict=True):
        mask = torch.zeros(unit.candidates, dtype=torch.bool)
        mask[unit.candidate[:count]] = True
        removed[name] = mask
    return Selection(
        removed,
        weights=int(total[taken - 1]) if taken else 0,
        threshold=float(cost[taken - 1]) if taken else None,
    )
