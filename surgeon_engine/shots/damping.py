"""Choose the damping of costs and update by the divergence on held-out windows.

A covariance of few tokens is uncertain. How far it can be trusted depends on the text,
its length, the structure and how much is removed. So each damping is tried: the factors
of one part of the calibration windows select and update, the KL to the original on the
other part judges, and the weights are put back. The search walks over a coarse grid,
first for the damping of the update, then for the damping of the costs. In the first
shot it starts at a damping that works well on other models and texts, later at the
previous choice.

A few held-out windows cannot tell small differences apart, and following their noise
makes a run worse. So the search moves only where the KL falls by more than the
standard error of the difference. Heavy damping of the update is better at once but
worse later, since less of the removed weights is folded into the weights that the next
shots choose from: it may only be chosen in the last shot. The damping of the costs,
which takes longer to try, is only lowered after the first shot: with more removed, less
has worked better. More than 0.1 is for runs of one shot, and for single weights: a shot
removes more of them than their costs account for. (docs/results.md has the figures.)

The factors of both parts are then pooled, so that all of the text is used; validation
windows take no part.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import SPARSE, Damping, PruningConfig
from surgeon_engine.api.messages.run import DampingChoice, Stage
from surgeon_engine.api.saved_state import SavedSearch
from surgeon_engine.base.errors import CurvatureError
from surgeon_engine.evaluation.held_out import Trial, evaluate_held_out
from surgeon_engine.model.layers import KeptWeights
from surgeon_engine.pruning.measure_curvature import Factors
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.selection import remove, selection
from surgeon_engine.shots.smaller_batches import with_smaller_batches
from surgeon_engine.shots.steps import ShotPlan

GRID = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_START = (GRID.index(0.1), GRID.index(0.1))
_START_SPARSE = (GRID.index(0.03), GRID.index(0.1))
_MAX = (GRID.index(0.1), GRID.index(0.1))  # before the last shot
_MAX_SPARSE = (GRID.index(1.0), GRID.index(0.1))
_LOWERING_TOLERANCE = 0.1  # nats that a move back to the maximum may cost
_UPDATE = ((0, -1), (0, 1))
_COST = ((-1, 0), (1, 0))  # expensive to try: all costs have to be computed again
_LESS_COST = ((-1, 0),)
_USUAL_TRIALS = 5  # per search, to show its progress

Point = tuple[int, int]  # indices in GRID of the damping of the costs, of the update
Moves = tuple[Point, ...]  # differences of indices; of opposite moves only one can help


def choose_damping(
    state: PruningState,
    plan: ShotPlan,
    factors: Factors,
    budget: int,
    context: RunContext,
) -> DampingChoice:
    """Search for the damping with the lowest divergence on the held-out windows.

    `factors` come from the other windows, and `budget` is the number of weights to
    remove.

    Raises:
        CurvatureError: every damping leaves a model without a finite divergence.
        PruningError: fewer weights than the budget can be removed.
    """
    config = state.config.pruning
    layers = [layer for unit in state.units for layer in unit.layers]
    model, held_out = state.loaded.model, state.references.held_out
    assert held_out is not None
    kept = KeptWeights.of(layers)
    search_of_shot = SavedSearch(plan.number, budget)
    known = _load_trials(search_of_shot, context)

    @functools.lru_cache(maxsize=1)  # each holds a mask of all weights
    def removed_at(cost_damping: float) -> dict[str, Tensor]:
        pruning = with_damping(config, cost_damping, config.update_damping)
        check = context.raise_if_cancelled
        return selection(state, factors, pruning, budget, check).removed

    def trial_at(point: Point) -> Trial:
        context.raise_if_cancelled()
        if point not in known:
            work = functools.partial(tried, point)
            known[point] = with_smaller_batches(state, context, work)
            if context.saver.is_due:
                _save_trials(known, search_of_shot, context)
        step()
        return known[point]

    def tried(point: Point) -> Trial:
        pruning = with_damping(config, GRID[point[0]], GRID[point[1]])
        try:
            with ranks.together(), kept:
                removed = removed_at(GRID[point[0]])
                remove(state, factors, pruning, removed, context.raise_if_cancelled)
                batch = state.config.calibration.batch
                return evaluate_held_out(model, held_out, batch)
        except CurvatureError:
            return Trial(None)  # too little damping for these factors

    with context.stage(Stage.DAMPING, plan.number, _USUAL_TRIALS) as step:
        trials, chosen = search(trial_at, *_way(plan, config))
    if trials[chosen].nats is None:
        raise CurvatureError(
            "None of the {trials} dampings that were tried leaves a model whose "
            "predictions are finite.",
            "Remove less in a shot, or use more calibration text.",
            trials=len(trials),
        )
    cost, update = chosen
    return DampingChoice(
        GRID[cost], GRID[update], len(trials), trials[chosen].divergence
    )


def _way(
    plan: ShotPlan, config: PruningConfig
) -> tuple[Point, tuple[Moves, ...], Point]:
    """Return where the search of a shot starts, its moves, and the maximum."""
    sparse, before = config.structure in SPARSE, plan.previous_damping
    start = _START_SPARSE if sparse else _START
    if before is not None:
        start = (GRID.index(before.cost), GRID.index(before.update))
    moves = (_UPDATE, _COST if before is None else _LESS_COST)
    if plan.is_last:
        return start, moves, (len(GRID) - 1, len(GRID) - 1)
    return start, moves, _MAX_SPARSE if sparse else _MAX


def _save_trials(
    trials: Mapping[Point, Trial], search: SavedSearch, context: RunContext
) -> None:
    """Save the trials of a search, each under its point."""
    tensors = {
        "{} {}".format(*point): torch.empty(0) if trial.nats is None else trial.nats
        for point, trial in trials.items()
    }
    context.save({"trials": tensors}, search=search)


def _load_trials(search: SavedSearch, context: RunContext) -> dict[Point, Trial]:
    """Return the trials of the same search before the run was interrupted."""
    if context.saver.saved.search != search:
        return {}
    trials = {}
    for name, nats in (context.load_progress("trials") or {}).items():
        cost, update = map(int, name.split())
        trials[cost, update] = Trial(nats if len(nats) else None)
    return trials


def with_damping(pruning: PruningConfig, cost: float, update: float) -> PruningConfig:
    """Return the settings with other dampings."""
    return dataclasses.replace(
        pruning, damping=Damping.FIXED, cost_damping=cost, update_damping=update
    )


def search(
    trial_at: Callable[[Point], Trial],
    start: Point,
    moves: tuple[Moves, ...],
    maximum: Point,
) -> tuple[dict[Point, Trial], Point]:
    """Search the grid from `start`; return trials by point, and where it has ended.

    While there is no finite divergence at the start, both dampings are raised. Then
    each of the moves is followed while it helps. A damping is not raised beyond its
    maximum, and one that is beyond is lowered to it where that costs little.
    """
    trials: dict[Point, Trial] = {}

    def trial(point: Point) -> Trial:
        if point not in trials:
            trials[point] = trial_at(point)
        return trials[point]

    def follow(point: Point, move: Point) -> Point:
        """Return the point from which `move` helps no longer."""
        while (after := _moved(point, move)) and _accepts(trial, point, after, maximum):
            point = after
        return point

    last, point = len(GRID) - 1, start
    while trial(point).nats is None and point != (last, last):
        point = (min(point[0] + 1, last), min(point[1] + 1, last))
    if trials[point].nats is not None:
        for opposite in moves:
            ends = (follow(point, move) for move in opposite)
            point = next((end for end in ends if end != point), point)
    return trials, point


def _accepts(
    trial: Callable[[Point], Trial], before: Point, after: Point, maximum: Point
) -> bool:
    """Return whether a move to a neighboring point helps."""
    axis = 0 if before[0] != after[0] else 1  # the damping that changes
    old, new, most = before[axis], after[axis], maximum[axis]
    if new > max(old, most):
        return False
    tried = trial(after)
    if new < old and old > most:
        return tried.divergence < trial(before).divergence + _LOWERING_TOLERANCE
    return tried.is_better_beyond_chance(trial(before))


def _moved(point: Point, move: Point) -> Point | None:
    """Return the next point in a direction; None: it is outside of the grid."""
    cost, update = point[0] + move[0], point[1] + move[1]
    inside = range(len(GRID))
    return (cost, update) if cost in inside and update in inside else None
