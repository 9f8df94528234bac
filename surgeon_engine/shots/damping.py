"""Chooses the damping of costs and update by what held-out windows think of it.

A covariance of few tokens is uncertain, and how much it may be trusted depends on the
text, its length, the structure and how much has gone. So each damping is tried: the
factors of one part of the calibration windows choose and update, the loss on the other
part judges, and the weights are put back. The search goes over a coarse grid from the
last choice on, first for the update's damping, then, for rows and columns, for that of
the costs. The latter takes longer to try and is chosen in the first shot alone: in
later ones, and for other structures, the differences are smaller than what few
held-out windows can tell apart (docs/results.md).

Too little damping costs more than too much, and of two dampings chance may favour
either. So the search takes more damping for any gain, and less of it only where the
gain is larger than its standard error, by the differences token by token.

The factors of the held-out part are then added to those of the first, so that nothing
measured is wasted; validation windows take no part.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.config import BY_LAYER, PruningConfig
from surgeon_engine.errors import CurvatureError
from surgeon_engine.evaluation.perplexity import token_losses
from surgeon_engine.events import DampingChoice, Stage
from surgeon_engine.model.layers import KeptWeights
from surgeon_engine.session import Session
from surgeon_engine.shots.patient import Factors, Patient
from surgeon_engine.shots.removal import remove, selection

GRID = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_START = (GRID.index(0.01), GRID.index(0.1))
_START_BY_LAYER = (GRID.index(0.1), GRID.index(0.1))
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


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What held-out windows say: the loss of each of their tokens."""

    losses: Tensor  # float64

    @property
    def loss(self) -> float:
        """The mean; infinite where it is not a number."""
        mean = float(self.losses.mean())
        return mean if math.isfinite(mean) else math.inf

    def beats(self, other: Judged) -> bool:
        """Whether the mean is smaller by more than the standard error."""
        if math.isinf(self.loss) or math.isinf(other.loss):
            return self.loss < other.loss
        gain = other.losses - self.losses
        return float(gain.mean()) > float(gain.std()) / math.sqrt(gain.numel())


NO_LOSS = Judged(torch.tensor([math.inf]))


def judged(patient: Patient, held: Tensor) -> Judged:
    """What the windows `held` say of the model as it is."""
    batch = patient.config.calibration.batch
    return Judged(token_losses(patient.loaded.model, held, batch, lambda: None))


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

    def judged_at(place: Place) -> Judged:
        session.check()
        pruning = with_damping(config, GRID[place[0]], GRID[place[1]])
        try:
            removed = removed_at(pruning.cost_damping)
            with kept:
                remove(patient, task.factors, pruning, removed, session.check)
                return judged(patient, task.held)
        except CurvatureError:
            return NO_LOSS  # too little damping for these factors

    start: Place = _START
    moves: tuple[Place, ...] = _UPDATE
    if config.structure in BY_LAYER:
        start = _START_BY_LAYER
        if task.last is None:
            moves = _UPDATE + _COST
    if task.last is not None:
        start = (GRID.index(task.last.cost), GRID.index(task.last.update))
    with session.stage(Stage.DAMPING, task.shot):
        best, tried = descend(judged_at, start, moves)
        if math.isinf(tried[best].loss):  # too little for the costs already
            best, more = descend(judged_at, max(tried), _COST)
            tried |= more
    if math.isinf(tried[best].loss):
        raise CurvatureError(
            f"None of the {len(tried)} dampings that were tried leaves a model with a "
            "finite loss.",
            "Remove less in a shot, or use more calibration text.",
        )
    cost, update = GRID[best[0]], GRID[best[1]]
    return DampingChoice(cost, update, len(tried), tried[best].loss)


def with_damping(pruning: PruningConfig, cost: float, update: float) -> PruningConfig:
    """The same settings with these dampings."""
    return dataclasses.replace(pruning, cost_damping=cost, update_damping=update)


def descend(
    judged_at: Callable[[Place], Judged], start: Place, moves: tuple[Place, ...]
) -> tuple[Place, dict[Place, Judged]]:
    """Where a search from `start` ends, and all that it has tried.

    Each pair of opposite moves is followed while it helps, one after the other.
    """
    tried = {start: judged_at(start)}
    best = start
    for pair in zip(moves[::2], moves[1::2], strict=True):
        for move in pair:
            before = best
            while (place := _moved(best, move)) is not None:
                if place not in tried:
                    tried[place] = judged_at(place)
                if not _is_better(tried[place], tried[best], sum(move) > 0):
                    break
                best = place
            if best != before:
                break  # the way back is worse
    return best, tried


def _is_better(there: Judged, here: Judged, is_more: bool) -> bool:
    """Whether the search goes on to `there`, which `is_more` damping or less."""
    if not is_more:
        return there.beats(here)
    nothing_works = math.isinf(min(here.loss, there.loss))
    return there.loss < here.loss or nothing_works


def _moved(place: Place, move: Place) -> Place | None:
    """The next place that way; None: outside of the grid."""
    cost, update = place[0] + move[0], place[1] + move[1]
    inside = range(len(GRID))
    return (cost, update) if cost in inside and update in inside else None
