"""Compute the costs of all candidates, select the cheapest, and remove them.

Where several processes share a run, each computes the costs and updates of its own
blocks; all select, and write all weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import CostBasis, Coupling, PruningConfig
from surgeon_engine.model.offload import on_device
from surgeon_engine.pruning.measure_curvature import Factors
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.experts_neurons import (
    ExpertsUnit,
    experts_in_step,
)
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.pruning.threshold import (
    ElementCosts,
    Removals,
    Selection,
    cheapest,
    cheapest_in_step,
)
from surgeon_engine.runtime.shares import divided

Costs = dict[str, Removals | ElementCosts]  # by unit


def selection(
    state: PruningState,
    factors: Factors,
    pruning: PruningConfig,
    budget: int,
    step: Callable[[], None] = lambda: None,
) -> Selection:
    """Select the cheapest candidates, at most `budget` weights in all.

    `pruning` has the damping of the costs. `step` is called after the costs of each
    unit.

    Raises:
        CurvatureError: a cost cannot be computed.
        PruningError: fewer weights than `budget` can be removed.
    """
    costs = costs_of(state, factors, pruning, step)
    return cheapest_of(state.units, costs, pruning, budget)


def costs_of(
    state: PruningState,
    factors: Factors,
    pruning: PruningConfig,
    step: Callable[[], None] = lambda: None,
) -> Costs:
    """Return the candidates of each unit that can be removed, with their costs.

    `step` is called after each unit.

    Raises:
        CurvatureError: a cost cannot be computed.
    """

    def removals_of(unit: Unit) -> Removals | ElementCosts:
        name = unit.measured.name
        with on_device(state.loaded.blocks[unit.measured.block]):
            return unit.removals(factors[name], state.removed[name], pruning)

    costs: Costs = {}
    for unit, removals in divided(state.units, _block_of, removals_of):
        costs[unit.measured.name] = removals
        step()
    return costs


def cheapest_of(
    units: Sequence[Unit], costs: Costs, pruning: PruningConfig, budget: int
) -> Selection:
    """Select the cheapest candidates of `units`, at most `budget` weights in all.

    If the target is a size in bytes, it is at least `budget` weights: the file is not
    to be larger.

    Raises:
        CurvatureError: a cost is not a number.
        PruningError: fewer weights than `budget` can be removed.
    """
    reaches = pruning.is_sized
    if pruning.has_same_widths:
        return _cheapest_in_step(
            units, costs, pruning.cost_basis, budget, reaches=reaches
        )
    return cheapest(costs, budget, reaches=reaches)


def _cheapest_in_step(
    units: Sequence[Unit],
    costs: Costs,
    basis: CostBasis,
    budget: int,
    *,
    reaches: bool,
) -> Selection:
    """Select equally many of each unit of a kind, but of those without any group."""
    empty = {name: each for name, each in costs.items() if _is_empty(each)}
    if not empty:
        groups = _by_kind(units, costs, basis)
        return cheapest_in_step(groups, budget, reaches=reaches)
    before = cheapest(empty, sum(int(x.weights.sum()) for x in empty.values()))
    others = [unit for unit in units if unit.measured.name not in empty]
    rest = budget - before.weights
    groups = _by_kind(others, costs, basis)
    found = cheapest_in_step(groups, rest, reaches=reaches)
    return Selection(
        before.removed | found.removed,
        before.weights + found.weights,
        found.threshold,
    )


def _is_empty(unit: Removals | ElementCosts) -> TypeGuard[Removals]:
    """Return whether all candidates of a unit were removed before."""
    if isinstance(unit, ElementCosts):
        return False
    return bool((unit.cost == -torch.inf).sum() == unit.candidates)


def _by_kind(
    units: Sequence[Unit],
    costs: Mapping[str, Removals | ElementCosts],
    basis: CostBasis,
) -> list[dict[str, Removals]]:
    """Return the removals of heads, of neurons and of experts separately."""
    kinds: dict[Coupling, dict[str, Removals]] = {}
    costs = {**costs, **experts_in_step(costs, basis)}
    for unit in units:
        removals = costs[unit.measured.name]
        assert isinstance(unit, CoupledUnit)
        assert isinstance(removals, Removals)
        kinds.setdefault(unit.coupled.kind, {})[unit.measured.name] = removals
    return list(kinds.values())


def remove(
    state: PruningState,
    factors: Factors,
    pruning: PruningConfig,
    selected: Mapping[str, Tensor],
    step: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Remove `selected` from the weights of the model and update the rest.

    The state is not changed, so that a removal can be tried and undone.

    `selected` are the candidates to remove from each unit, bool, with those removed
    before. `pruning` has the damping of the update. `step` is called after each
    unit.

    Returns:
        The removed candidates of each unit, bool.
    """

    def updated(unit: Unit) -> tuple[Tensor, Tensor]:
        name = unit.measured.name
        with on_device(state.loaded.blocks[unit.measured.block]):
            W, of_unit = unit.updated(
                factors[name], state.removed[name], selected[name], pruning
            )
        return (W.to(unit.measured.matrix.dtype) if W.numel() else W), of_unit

    removed: dict[str, Tensor] = {}
    for unit, (W, of_unit) in divided(state.units, _block_of, updated):
        name = unit.measured.name
        with on_device(state.loaded.blocks[unit.measured.block], changes=True):
            if isinstance(unit, ExpertsUnit):
                unit.sort_neurons(factors[name], state.removed[name])
            # Other layers lose weights, and are not updated.
            for layer, mask in unit.zeros(of_unit):
                if layer is unit.measured and W.numel():
                    layer.write(W)
                else:
                    layer.zero(mask)
        removed[name] = of_unit
        step()
    return removed


def _block_of(unit: Unit) -> int:
    return unit.measured.block
