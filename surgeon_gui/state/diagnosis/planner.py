"""Plan what the first shot of a run removes from each layer, for any target.

The removals of all units are merged by cost once and summed exactly, in integers; a
plan is then a lookup in these sums. It removes exactly what the engine would remove for
the same costs, but for experts with neurons and a minimum density: a block ends at the
first step that does not fit. Single weights are counted in bins: all bins below the
threshold are removed, and the bin that contains it is shared among the layers in
proportion.

The predicted increase of the loss is the sum over single removals: one shot, no
interactions, no recovery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surgeon_engine.api.config.layer_patterns import any_matches
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_engine.planning.limits import groups_to_keep
from surgeon_engine.planning.rounding import ceil_share
from surgeon_gui.state.diagnosis.costs import Bins, Costs, Floats, Ints, StructureCosts

_NEURONS = "neurons"


@dataclass(frozen=True, slots=True, eq=False)
class RemovalPlan:
    """The removals for one target."""

    target_weights: int  # weights to remove
    max_removable: int  # weights that the rules allow to remove
    removed: int  # weights removed: at most either of the above
    threshold: float | None  # the highest cost among the removals
    removals: Ints  # U, number of removals; weights if unstructured
    weights: Ints  # U, weights removed

    @property
    def is_reached(self) -> bool:
        """True if the rules allow the target."""
        return self.target_weights <= self.max_removable


def rules_of(pruning: PruningConfig) -> tuple[object, ...]:
    """Return the settings that constrain a plan, but for its target."""
    return (
        pruning.protect,
        pruning.layer_min_density,
        pruning.min_density,
        pruning.has_same_widths,
        pruning.is_sized,
    )


def is_protected(unit: DiagnosedUnit, pruning: PruningConfig) -> bool:
    """Return True if nothing of the unit may be removed."""
    return any_matches(unit.layers, pruning.protect)


class Planner:
    """Plans any target under the rules of a job."""

    def __init__(self, costs: Costs, pruning: PruningConfig) -> None:
        self.costs, self.pruning = costs, pruning
        if isinstance(costs.found, Bins):
            self._plans: _BinPlans | _RemovalPlans = _BinPlans(
                costs, costs.found, pruning
            )
        else:
            self._plans = _RemovalPlans(costs, costs.found, pruning)
        self.allowed = self._plans.allowed  # U, removals (or weights) the rules allow
        self.max_removable = self._plans.max_removable  # weights, of all units

    def plan(self, weights: int) -> RemovalPlan:
        """Plan the removal of `weights`, or of as many as the rules allow."""
        return self._plans.plan(weights)

    def curve(self, points: int) -> tuple[Ints, Floats]:
        """Return weights from 0 to the maximum, and the loss increase for each."""
        weights = np.linspace(0, self.max_removable, points).astype(np.int64)
        return weights, self._plans.rises(weights)


class _RemovalPlans:
    """Plans for structures that are removed as a whole."""

    def __init__(
        self, costs: Costs, found: StructureCosts, pruning: PruningConfig
    ) -> None:
        self._found, self._is_sized = found, pruning.is_sized
        self.allowed = np.array(
            [_allowed(costs, found, u, pruning) for u in range(len(costs.units))],
            dtype=np.int64,
        )
        if pruning.has_same_widths:
            self._groups = _merged_in_step(costs, found, self.allowed)
        else:
            self._groups = _merged_by_cost(found, self.allowed)
        self.max_removable = (
            int(self._groups.total[-1]) if len(self._groups.total) else 0
        )

    def plan(self, weights: int) -> RemovalPlan:
        merged, found = self._groups, self._found
        if self._is_sized and 0 < weights <= self.max_removable:
            weights = int(merged.total[np.searchsorted(merged.total, weights)])
        steps = int(np.searchsorted(merged.total, weights, side="right"))
        per_group = np.bincount(merged.owner[:steps], minlength=merged.groups)
        taken = per_group[merged.group_of_unit]
        last = found.start[:-1] + np.maximum(taken, 1) - 1
        last = np.minimum(last, max(0, len(found.cost) - 1))
        removed = np.where(taken > 0, found.weights_so_far[last], 0)
        return RemovalPlan(
            target_weights=weights,
            max_removable=self.max_removable,
            removed=int(merged.total[steps - 1]) if steps else 0,
            threshold=float(merged.cost[steps - 1]) if steps else None,
            removals=taken,
            weights=removed,
        )

    def rises(self, weights: Ints) -> Floats:
        steps = np.searchsorted(self._groups.total, weights, side="right")
        return np.concatenate([[0.0], self._groups.rise])[steps]


@dataclass(frozen=True, slots=True, eq=False)
class _Merged:
    """Removals in order of cost; the units of a group lose equally many."""

    cost: Floats
    total: Ints  # weights, cumulative
    rise: Floats  # cumulative
    owner: NDArray[np.int32]  # index of the group
    groups: int
    group_of_unit: Ints  # U


def _merged_by_cost(found: StructureCosts, allowed: Ints) -> _Merged:
    everything, units = found.by_cost, len(allowed)
    is_removable = everything.place < allowed.astype(np.int32)[everything.owner]
    return _Merged(
        cost=everything.cost[is_removable],
        total=everything.weights[is_removable].cumsum(),
        rise=np.cumsum(everything.rise[is_removable]),
        owner=everything.owner[is_removable],
        groups=units,
        group_of_unit=np.arange(units),
    )


def _merged_in_step(costs: Costs, found: StructureCosts, allowed: Ints) -> _Merged:
    """Merge the k-th cheapest removals of all units of a kind, at their mean cost."""
    is_free = allowed > 0
    kinds = [unit.group for unit in costs.units]
    names = list(dict.fromkeys(kinds))
    group_of_unit = np.array([names.index(kind) for kind in kinds])
    cost, weights, rise, owner = [], [], [], []
    for number in range(len(names)):
        members = np.flatnonzero((group_of_unit == number) & is_free)
        length = int(np.min(allowed[members])) if len(members) else 0
        rows = found.start[:-1][members][:, None] + np.arange(length)
        cost.append(found.cost[rows].mean(axis=0) if len(members) else np.zeros(0))
        weights.append(found.weights[rows].sum(axis=0))
        rise.append(found.rise[rows].sum(axis=0))
        owner.append(np.full(length, number, dtype=np.int32))
    merged = np.concatenate(cost)
    order = np.argsort(merged, kind="stable")
    # Protected units form a last group, from which nothing is removed.
    return _Merged(
        cost=merged[order],
        total=np.concatenate(weights)[order].cumsum(),
        rise=np.cumsum(np.concatenate(rise)[order]),
        owner=np.concatenate(owner)[order],
        groups=len(names) + 1,
        group_of_unit=np.where(is_free, group_of_unit, len(names)),
    )


def _allowed(
    costs: Costs, found: StructureCosts, number: int, pruning: PruningConfig
) -> int:
    """Return how many removals of a unit the rules allow."""
    unit = costs.units[number]
    if is_protected(unit, pruning):
        return 0
    share = pruning.share_to_keep(unit.layers)
    if unit.group == "layer" or unit.neurons:
        start, end = found.start[number], found.start[number + 1]
        weights = unit.layers[0].weights
        max_weights = weights - ceil_share(weights, share)
        so_far = found.weights_so_far[start:end]
        return int(np.searchsorted(so_far, max_weights, side="right"))
    bundle = costs.diagnosed.bundle if unit.group == _NEURONS else unit.classes
    kept = groups_to_keep(unit.candidates, share, bundle, unit.least)
    return min(unit.entries, unit.candidates - min(unit.candidates, kept))


class _BinPlans:
    """Plans for single weights."""

    def __init__(self, costs: Costs, found: Bins, pruning: PruningConfig) -> None:
        self._atom = costs.diagnosed.atom
        self._cost = found.cost
        self.allowed = np.array(
            [
                _weights_allowed(costs, found, u, pruning)
                for u in range(len(costs.units))
            ],
            dtype=np.int64,
        )
        self._so_far = np.minimum(found.so_far, self.allowed[:, None])  # U x B
        self._total = self._so_far.sum(axis=0)
        counts = np.diff(self._total, prepend=0)
        self._rise = np.cumsum(counts * found.cost)
        self.max_removable = int(self._total[-1]) if len(self._total) else 0

    def plan(self, weights: int) -> RemovalPlan:
        count = min(weights, self.max_removable) // self._atom * self._atom
        if count <= 0:
            none = np.zeros(len(self.allowed), dtype=np.int64)
            return RemovalPlan(weights, self.max_removable, 0, None, none, none)
        at = int(np.searchsorted(self._total, count))
        before = self._so_far[:, at - 1] if at else np.zeros_like(self.allowed)
        missing = count - int(before.sum())
        inside = self._so_far[:, at] - before
        taken = before + _shared(missing, inside, self._atom)
        return RemovalPlan(
            target_weights=weights,
            max_removable=self.max_removable,
            removed=count,
            threshold=float(self._cost[at]),
            removals=taken,
            weights=taken,
        )

    def rises(self, weights: Ints) -> Floats:
        at = np.minimum(np.searchsorted(self._total, weights), len(self._total) - 1)
        over = self._total[at] - weights  # kept of the last bin
        return np.where(weights > 0, self._rise[at] - over * self._cost[at], 0.0)


def _shared(missing: int, inside: Ints, atom: int) -> Ints:
    """Share `missing` weights among layers in proportion to `inside`, exactly."""
    atoms, missing_atoms = inside // atom, missing // atom
    in_all = max(1, int(atoms.sum()))
    part, rest = atoms * missing_atoms // in_all, atoms * missing_atoms % in_all
    nearest = np.argsort(-rest, kind="stable")[: missing_atoms - int(part.sum())]
    part[nearest] += 1
    return part * atom


def _weights_allowed(
    costs: Costs, found: Bins, number: int, pruning: PruningConfig
) -> int:
    unit = costs.units[number]
    if is_protected(unit, pruning):
        return 0
    weights = int(found.so_far[number, -1])
    share = pruning.share_to_keep(unit.layers)
    if not share:
        return weights
    atom = costs.diagnosed.atom
    removable = unit.candidates - ceil_share(unit.candidates, share)
    return min(weights, removable // atom * atom)
