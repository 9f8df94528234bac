"""Compute the costs of all candidates, select the cheapest, and remove them.

Where several processes share a run, each computes the costs and updates of its own
blocks; all select, and write all weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeGuard

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import Coupling, PruningConfig
from surgeon_engine.base.errors import PruningError
from surgeon_engine.model.layers import ExpertsLayer
from surgeon_engine.model.offload import on_device
from surgeon_engine.pruning.measure_curvature import Factors
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.experts_neurons import (
    ExpertRemovals,
    ExpertsUnit,
    experts_in_step,
    without_neurons_beyond,
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
        with _weights_of(unit, state):
            return unit.removals(factors[name], state.removed[name], pruning)

    costs: Costs = {}
    for unit, removals in divided(state.units, _block_of, removals_of):
        costs[unit.measured.name] = removals
        step()
    if pruning.has_same_widths:
        costs |= experts_in_step(costs, pruning.cost_basis)
    return costs


def cheapest_of(
    units: Sequence[Unit],
    costs: Costs,
    pruning: PruningConfig,
    budget: int,
    *,
    reaches: bool | None = None,
) -> Selection:
    """Select the cheapest candidates of `units`, at most `budget` weights in all.

    If the target is a size in bytes, it is at least `budget` weights: the file is not
    to be larger. `reaches` says which of both; None: the target does.

    Raises:
        CurvatureError: a cost is not a number.
        PruningError: fewer weights than `budget` can be removed.
    """
    reaches = pruning.is_sized if reaches is None else reaches
    if pruning.has_same_widths:
        return _cheapest_in_step(units, costs, budget, reaches=reaches)
    return cheapest(costs, budget, reaches=reaches)


def without_large_steps(
    units: Sequence[Unit], costs: Costs, pruning: PruningConfig, budget: int
) -> Costs:
    """Return the costs without the neurons of experts that do not fit in `budget`.

    A width multiple makes steps of all experts of a block, or of all blocks, so large
    that much of the budget may be left. Whole experts then come next, until nothing
    ends the selection but one of them or another unit.

    Raises:
        CurvatureError: a cost is not a number.
        PruningError: fewer weights than `budget` can be removed.
    """
    if not any(isinstance(each, ExpertRemovals) for each in costs.values()):
        return costs
    found = cheapest_of(units, costs, pruning, budget, reaches=False)
    while fewer := without_neurons_beyond(
        costs,
        found.removed,
        budget - found.weights,
        pruning.cost_basis,
        are_in_step=pruning.has_same_widths,
    ):
        limited: Costs = {**costs, **fewer}
        try:
            found = cheapest_of(units, limited, pruning, budget, reaches=False)
        except PruningError:  # only with these neurons can so much be removed
            break
        costs = limited
    return costs


def _cheapest_in_step(
    units: Sequence[Unit], costs: Costs, budget: int, *, reaches: bool
) -> Selection:
    """Select equally many groups of each unit of a kind, except of empty units."""
    empty = {name: each for name, each in costs.items() if _is_empty(each)}
    if not empty:
        return cheapest_in_step(_by_kind(units, costs), budget, reaches=reaches)
    before = cheapest(empty, sum(int(x.weights.sum()) for x in empty.values()))
    others = [unit for unit in units if unit.measured.name not in empty]
    rest = budget - before.weights
    found = cheapest_in_step(_by_kind(others, costs), rest, reaches=reaches)
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
    units: Sequence[Unit], costs: Mapping[str, Removals | ElementCosts]
) -> list[dict[str, Removals]]:
    """Return the removals of heads, of neurons and of experts separately."""
    kinds: dict[Coupling, dict[str, Removals]] = {}
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

    The state is not changed, so that a removal can be tried and undone. Return the
    removed candidates of each unit, bool.

    `selected` are the candidates to remove from each unit, bool, including the already
    removed ones. `pruning` has the damping of the update. `step` is called after each
    unit.
    """

    def updated(unit: Unit) -> tuple[Tensor, Tensor]:
        name = unit.measured.name
        with _weights_of(unit, state):
            W, of_unit = unit.updated(
                factors[name], state.removed[name], selected[name], pruning
            )
        return (W.to(unit.measured.matrix.dtype) if W.numel() else W), of_unit

    removed: dict[str, Tensor] = {}
    for unit, (W, of_unit) in divided(state.units, _block_of, updated):
        name = unit.measured.name
        before = state.removed[name].to(of_unit.device)
        if W.numel() or not torch.equal(of_unit, before):
            with on_device(state.loaded.blocks[unit.measured.block], changes=True):
                if isinstance(unit, ExpertsUnit):
                    unit.sort_neurons(factors[name], before, of_unit)
                # Other layers lose weights, and are not updated.
                for layer, mask in unit.zeros(of_unit):
                    if layer is unit.measured and W.numel():
                        layer.write(W)
                    else:
                        layer.zero(mask)
        removed[name] = of_unit
        step()
    return removed


def _weights_of(unit: Unit, state: PruningState) -> AbstractContextManager[None]:
    """Return a context in which the weights of a unit's block are on the device.

    The weights of experts stay where they are: their costs depend on gates and tokens
    alone, and no update changes them.
    """
    if isinstance(unit.measured, ExpertsLayer):
        return nullcontext()
    return on_device(state.loaded.blocks[unit.measured.block])


def _block_of(unit: Unit) -> int:
    return unit.measured.block
