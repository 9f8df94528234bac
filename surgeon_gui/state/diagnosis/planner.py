"""What goes of every layer for any target, by the threshold of a run's first shot.

The removals of all units are merged once by cost and added up, in whole numbers; a plan
is then a look into the sums. It takes exactly what the engine would take of the same
costs. Single weights are counted in bins: all bins below the threshold go, and of the
one in which it lies each layer gives its part of what is missing.

The rise of the loss is the sum of the rises of the single removals: one shot, each by
itself, without the correction. Knows nothing of Qt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surgeon_engine.api.config.layer_patterns import matches, min_kept_share
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_engine.api.planning.rounding import ceil_share
from surgeon_gui.state.diagnosis.costs import Bins, Costs, Floats, Ints, Removals

_NEURONS = "neurons"


@dataclass(frozen=True, slots=True)
class Rules:
    """What has to stay, whatever it costs. A change of these needs no measurement."""

    protect: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    min_density: float = 0.0
    has_same_widths: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What goes for one target."""

    wanted: int  # weights
    most: int  # that may go
    removed: int  # at most either
    threshold: float | None  # the largest cost that is paid
    rise: float  # of the loss, nats per token
    taken: Ints  # U, removals; weights where single ones go
    weights: Ints  # U, that go

    @property
    def is_reached(self) -> bool:
        """Whether so much may go at all."""
        return self.wanted <= self.most


def rules_of(pruning: PruningConfig) -> Rules:
    """Those of a job."""
    return Rules(
        pruning.protect,
        pruning.layer_min_density,
        pruning.min_density,
        pruning.has_same_widths,
    )


def is_protected(unit: DiagnosedUnit, rules: Rules) -> bool:
    """Whether nothing of the unit may go."""
    return any(matches(x, pattern) for x in unit.layers for pattern in rules.protect)


def share_to_keep(unit: DiagnosedUnit, rules: Rules) -> float:
    """The share of its weights that has to stay."""
    return min_kept_share(rules.min_density, rules.limits, unit.layers)


class Planner:
    """Plans under the same rules."""

    def __init__(self, costs: Costs, rules: Rules) -> None:
        self.costs, self.rules = costs, rules
        if isinstance(costs.found, Bins):
            self._plans: _BinPlans | _RemovalPlans = _BinPlans(
                costs, costs.found, rules
            )
        else:
            self._plans = _RemovalPlans(costs, costs.found, rules)
        self.allowed = self._plans.allowed  # U, removals or weights that may go
        self.most = self._plans.most  # weights that may go in all

    def plan(self, weights: int) -> Plan:
        """What goes if `weights` are to go, or as many as may."""
        return self._plans.plan(weights)

    def curve(self, points: int) -> tuple[Ints, Floats]:
        """Numbers of weights from none to all that may go, and the rises by them."""
        weights = np.linspace(0, self.most, points).astype(np.int64)
        return weights, self._plans.rises(weights)


class _RemovalPlans:
    """Of what goes as a whole."""

    def __init__(self, costs: Costs, found: Removals, rules: Rules) -> None:
        self._found = found
        self.allowed = np.array(
            [_allowed(costs, found, u, rules) for u in range(len(costs.units))],
            dtype=np.int64,
        )
        if rules.has_same_widths:
            self._groups = _in_step(costs, found, self.allowed)
        else:
            self._groups = _by_themselves(found, self.allowed)
        self.most = int(self._groups.total[-1]) if len(self._groups.total) else 0

    def plan(self, weights: int) -> Plan:
        merged, found = self._groups, self._found
        steps = int(np.searchsorted(merged.total, weights, side="right"))
        per_group = np.bincount(merged.owner[:steps], minlength=merged.groups)
        taken = per_group[merged.group_of_unit]
        last = found.start[:-1] + np.maximum(taken, 1) - 1
        last = np.minimum(last, max(0, len(found.cost) - 1))
        gone = np.where(taken > 0, found.weights_so_far[last], 0)
        return Plan(
            wanted=weights,
            most=self.most,
            removed=int(merged.total[steps - 1]) if steps else 0,
            threshold=float(merged.cost[steps - 1]) if steps else None,
            rise=float(merged.rise[steps - 1]) if steps else 0.0,
            taken=taken,
            weights=gone,
        )

    def rises(self, weights: Ints) -> Floats:
        steps = np.searchsorted(self._groups.total, weights, side="right")
        return np.concatenate([[0.0], self._groups.rise])[steps]


@dataclass(frozen=True, slots=True, eq=False)
class _Merged:
    """Removals in the order in which they go; those of a group of units, in step."""

    cost: Floats
    total: Ints  # weights so far
    rise: Floats  # so far
    owner: NDArray[np.int32]  # which group
    groups: int
    group_of_unit: Ints  # U


def _by_themselves(found: Removals, allowed: Ints) -> _Merged:
    everything, units = found.by_cost, len(allowed)
    is_removable = everything.place < allowed.astype(np.int32)[everything.owner]
    return _Merged(
        cost=everything.cost[is_removable],
        total=everything.weights[is_removable].cumsum(),
        rise=everything.rise[is_removable].cumsum(),
        owner=everything.owner[is_removable],
        groups=units,
        group_of_unit=np.arange(units),
    )


def _in_step(costs: Costs, found: Removals, allowed: Ints) -> _Merged:
    """The k-th cheapest of all units of a kind go together, at their mean cost."""
    is_free = allowed > 0
    kinds = [unit.group for unit in costs.units]
    names = list(dict.fromkeys(kinds))
    group_of_unit = np.array([names.index(kind) for kind in kinds])
    cost, weights, rise, owner = [], [], [], []
    for number in range(len(names)):
        members = np.flatnonzero((group_of_unit == number) & is_free)
        length = int(allowed[members].min()) if len(members) else 0
        rows = found.start[:-1][members][:, None] + np.arange(length)
        cost.append(found.cost[rows].mean(axis=0) if len(members) else np.zeros(0))
        weights.append(found.weights[rows].sum(axis=0))
        rise.append(found.rise[rows].sum(axis=0))
        owner.append(np.full(length, number, dtype=np.int32))
    merged = np.concatenate(cost)
    order = np.argsort(merged, kind="stable")
    # What is protected is in no group: a last one, of which nothing goes.
    return _Merged(
        cost=merged[order],
        total=np.concatenate(weights)[order].cumsum(),
        rise=np.concatenate(rise)[order].cumsum(),
        owner=np.concatenate(owner)[order],
        groups=len(names) + 1,
        group_of_unit=np.where(is_free, group_of_unit, len(names)),
    )


def _allowed(costs: Costs, found: Removals, number: int, rules: Rules) -> int:
    """How many removals of a unit may go, in order."""
    unit = costs.units[number]
    if is_protected(unit, rules):
        return 0
    share = share_to_keep(unit, rules)
    if unit.group == "layer":
        start, end = found.start[number], found.start[number + 1]
        weights = unit.layers[0].weights
        most = weights - ceil_share(weights, share)
        so_far = found.weights_so_far[start:end]
        return int(np.searchsorted(so_far, most, side="right"))
    bundle = costs.diagnosed.bundle if unit.group == _NEURONS else 1
    least = max(1, ceil_share(unit.candidates, share))
    stay = min(unit.candidates, -(-least // bundle) * bundle)
    return min(unit.entries, unit.candidates - stay)


class _BinPlans:
    """Of single weights."""

    def __init__(self, costs: Costs, found: Bins, rules: Rules) -> None:
        self._atom = costs.diagnosed.atom
        self._cost = found.cost
        self.allowed = np.array(
            [_weights_allowed(costs, found, u, rules) for u in range(len(costs.units))],
            dtype=np.int64,
        )
        self._so_far = np.minimum(found.so_far, self.allowed[:, None])  # U x B
        self._total = self._so_far.sum(axis=0)
        counts = np.diff(self._total, prepend=0)
        self._rise = (counts * found.cost).cumsum()
        self.most = int(self._total[-1]) if len(self._total) else 0

    def plan(self, weights: int) -> Plan:
        count = min(weights, self.most) // self._atom * self._atom
        if count <= 0:
            none = np.zeros(len(self.allowed), dtype=np.int64)
            return Plan(weights, self.most, 0, None, 0.0, none, none)
        at = int(np.searchsorted(self._total, count))
        before = self._so_far[:, at - 1] if at else np.zeros_like(self.allowed)
        missing = count - int(before.sum())
        inside = self._so_far[:, at] - before
        taken = before + _shared(missing, inside, self._atom)
        return Plan(
            wanted=weights,
            most=self.most,
            removed=count,
            threshold=float(self._cost[at]),
            rise=float(self.rises(np.array([count]))[0]),
            taken=taken,
            weights=taken,
        )

    def rises(self, weights: Ints) -> Floats:
        at = np.minimum(np.searchsorted(self._total, weights), len(self._total) - 1)
        over = self._total[at] - weights  # what of the last bin stays
        return np.where(weights > 0, self._rise[at] - over * self._cost[at], 0.0)


def _shared(missing: int, inside: Ints, atom: int) -> Ints:
    """`missing` weights from those `inside`, from each layer its part, to the last."""
    atoms, wanted = inside // atom, missing // atom
    in_all = max(1, int(atoms.sum()))
    part, rest = atoms * wanted // in_all, atoms * wanted % in_all
    nearest = np.argsort(-rest, kind="stable")[: wanted - int(part.sum())]
    part[nearest] += 1
    return part * atom


def _weights_allowed(costs: Costs, found: Bins, number: int, rules: Rules) -> int:
    unit = costs.units[number]
    if is_protected(unit, rules):
        return 0
    most = int(found.so_far[number, -1])
    share = share_to_keep(unit, rules)
    if not share:
        return most
    atom = costs.diagnosed.atom
    is_removable = unit.candidates - ceil_share(unit.candidates, share)
    return min(most, is_removable // atom * atom)
