"""Chooses the damping of costs and update by what held-out windows think of it.

A covariance of few tokens is uncertain, and how much it may be trusted depends on the
text, its length, the structure and how much has gone. So each damping is tried: the
factors of one part of the calibration windows choose and update, the loss on the other
part judges, and the weights are put back. The search goes over a coarse grid from the
last choice on, first for the update's damping, then for that of the costs. The latter
takes longer to try, and trying it in later shots followed the chance of few held-out
windows (docs/results.md): it is chosen in the first shot alone, and for single weights
stays where the search begins.

The factors of the held-out part are then added to those of the first, so that nothing
measured is wasted; validation windows take no part.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from surgeon_engine.config import SPARSE, PruningConfig
from surgeon_engine.errors import CurvatureError, EvaluationError
from surgeon_engine.evaluation.perplexity import evaluate
from surgeon_engine.events import DampingChoice, Stage
from surgeon_engine.model.layers import KeptWeights
from surgeon_engine.session import Session
from surgeon_engine.shots.patient import Factors, Patient
from surgeon_engine.shots.removal import remove, selection

GRID = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_START = (GRID.index(0.1), GRID.index(0.1))
_START_SPARSE = (GRID.index(0.03), GRID.index(0.1))
_UPDATE = ((0, -1), (0, 1))
_COST = ((-1, 0), (1, 0))  # dearer to try: all costs have to be computed again
_HELD_OUT = 4  # one of so many windows

Place = tuple[int, int]  # of the damping of costs and of the update in GRID


def split(windows: Tensor) -> tuple[Tensor, Tensor] | None:
    """The windows that are measured first, and the held-out ones; None: too few."""
    held = len(windows) // _HELD_OUT
    if held == 0:
        return None
    return windows[:-held], windows[-held:]


def held_out_loss(patient: Patient, held: Tensor) -> float:
    """The mean next-token loss on `held`; infinite where it is not a number."""
    batch = patient.config.calibration.batch
    try:
        return evaluate(patient.loaded.model, held, batch, "", lambda: None).loss
    except EvaluationError:
        return math.inf


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What the dampings are tried on."""

    factors: Factors  # of the windows that are not held out
    held: Tensor
    budget: int  # weights to be gone
    shot: int
    last: DampingChoice | None  # where the search begins


def choose_damping(patient: Patient, task: Task, session: Session) -> DampingChoice:
    """The damping that loses least on the held-out windows.

    Raises:
        PruningError: that many weights may not go.
    """
    config = patient.config.pruning
    layers = [layer for unit in patient.units for layer in unit.layers]

    kept = KeptWeights(layers)

    @functools.cache
    def removed_at(cost_damping: float) -> dict[str, Tensor]:
        pruning = dataclasses.replace(config, cost_damping=cost_damping)
        return selection(patient, task.factors, pruning, task.budget).removed

    def loss_at(place: Place) -> float:
        session.check()
        pruning = with_damping(config, GRID[place[0]], GRID[place[1]])
        try:
            removed = removed_at(pruning.cost_damping)
            with kept:
                remove(patient, task.factors, pruning, removed, session.check)
                return held_out_loss(patient, task.held)
        except CurvatureError:
            return math.inf  # too little damping for these factors

    start = _START_SPARSE if config.structure in SPARSE else _START
    moves = _moves(config, is_first=task.last is None)
    if task.last is not None:
        start = (GRID.index(task.last.cost), GRID.index(task.last.update))
    with session.stage(Stage.DAMPING, task.shot):
        losses = descend(loss_at, start, moves)
    best = min(losses, key=losses.__getitem__)
    if math.isinf(losses[best]):
        raise CurvatureError(
            f"None of the {len(losses)} dampings that were tried leaves a model with a "
            "finite loss.",
            "Remove less in a shot, or use more calibration text.",
        )
    return DampingChoice(GRID[best[0]], GRID[best[1]], len(losses), losses[best])


def _moves(pruning: PruningConfig, *, is_first: bool) -> tuple[Place, ...]:
    """Where the search may go, by how long a trial takes."""
    if is_first and pruning.structure not in SPARSE:
        return _UPDATE + _COST
    return _UPDATE


def with_damping(pruning: PruningConfig, cost: float, update: float) -> PruningConfig:
    """The same settings with these dampings."""
    return dataclasses.replace(pruning, cost_damping=cost, update_damping=update)


def descend(
    loss_at: Callable[[Place], float], start: Place, moves: tuple[Place, ...]
) -> dict[Place, float]:
    """The losses of the places that a search from `start` has tried.

    Each pair of opposite moves is followed while it helps, one after the other; where
    nothing has a finite loss yet, towards more damping.
    """
    losses = {start: loss_at(start)}
    best = start
    for pair in zip(moves[::2], moves[1::2], strict=True):
        for move in pair:
            before = best
            while (place := _moved(best, move)) is not None:
                if place not in losses:
                    losses[place] = loss_at(place)
                both_fail = math.isinf(losses[best]) and math.isinf(losses[place])
                if not (losses[place] < losses[best] or (both_fail and sum(move) > 0)):
                    break
                best = place
            if best != before:
                break  # the way back is worse
    return losses


def _moved(place: Place, move: Place) -> Place | None:
    """The next place that way; None: outside of the grid."""
    cost, update = place[0] + move[0], place[1] + move[1]
    inside = range(len(GRID))
    return (cost, update) if cost in inside and update in inside else None
