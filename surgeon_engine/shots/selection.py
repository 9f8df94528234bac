"""Costs, one threshold, and the weights of the model once the cheapest is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from surgeon_engine.api.config.pruning import Coupling, PruningConfig
from surgeon_engine.pruning.measure_curvature import Factors
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.pruning.threshold import (
    Elements,
    Removals,
    Selection,
    cheapest,
    cheapest_in_step,
)

Costs = dict[str, Removals | Elements]  # by unit


def selection(
    state: PruningState, factors: Factors, pruning: PruningConfig, budget: int
) -> Selection:
    """What goes, at most `budget` weights in all.

    Raises:
        CurvatureError: a cost cannot be computed.
        PruningError: that many may not go.
    """
    costs = costs_of(state, factors, pruning)
    return cheapest_of(state.units, costs, pruning, budget)


def costs_of(state: PruningState, factors: Factors, pruning: PruningConfig) -> Costs:
    """What may go of each unit, and what that costs.

    Raises:
        CurvatureError: a cost cannot be computed.
    """
    costs: Costs = {}
    for unit in state.units:
        name = unit.measured.name
        costs[name] = unit.removals(factors[name], state.removed[name], pruning)
    return costs


def cheapest_of(
    units: Sequence[Unit], costs: Costs, pruning: PruningConfig, budget: int
) -> Selection:
    """What goes of `units`, at most `budget` weights in all.

    Raises:
        CurvatureError: a cost is not a number.
        PruningError: that many may not go.
    """
    if pruning.has_same_widths:
        return cheapest_in_step(_by_kind(units, costs), budget)
    return cheapest(costs, budget)


def _by_kind(
    units: Sequence[Unit], removals: Mapping[str, Removals | Elements]
) -> list[dict[str, Removals]]:
    result = []
    for of_kind in _kinds(units):
        named: dict[str, Removals] = {}
        for unit in of_kind:
            of_unit = removals[unit.measured.name]
            assert isinstance(of_unit, Removals)
            named[unit.measured.name] = of_unit
        result.append(named)
    return result


def _kinds(units: Sequence[Unit]) -> list[list[CoupledUnit]]:
    """Heads and neurons apart."""
    kinds: dict[Coupling, list[CoupledUnit]] = {}
    for unit in units:
        assert isinstance(unit, CoupledUnit)
        kinds.setdefault(unit.coupled.kind, []).append(unit)
    return list(kinds.values())


def remove(
    state: PruningState,
    factors: Factors,
    pruning: PruningConfig,
    selected: dict[str, Tensor],
    step: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Write the weights without `selected`; gives what is gone then, by unit.

    `patient.removed` is left as it is: what is tried may be undone.
    """
    removed: dict[str, Tensor] = {}
    for unit in state.units:
        name = unit.measured.name
        updated = unit.updated(
            factors[name], state.removed[name], selected[name], pruning
        )
        for layer, W in updated.weights:
            layer.write(W)
        removed[name] = updated.removed
        step()
    return removed
