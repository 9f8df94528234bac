"""Chooses the damping of costs and update by what held-out windows think of it.

A covariance of few tokens is uncertain, and how much it may be trusted depends on the
text, its length, the structure and how much has gone. So each damping is tried: the
factors of one part of the calibration windows choose and update, the loss on the other
part judges, and the weights are put back. The search goes over a coarse grid from the
last choice on, first for the update's damping, then for that of the costs.

A few held-out windows cannot tell small differences apart, and following their chance
makes a run worse. So the search begins at a damping that has done well on other models
and texts, and goes on only where that loses less by more than the standard error of the
difference, token by token. Much damping of the update is better at once but worse
later, since less of what went is left in the weights that the next shots choose from:
it may only be chosen in the last shot. The damping of the costs takes longer to try.
After the first shot only less of it is tried: with more gone, less has done better. For
single weights it stays where the search begins. (docs/results.md has the figures.)

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
from surgeon_engine.errors import CurvatureError
from surgeon_engine.evaluation.perplexity import token_losses
from surgeon_engine.events import DampingChoice, Stage
from surgeon_engine.model.layers import KeptWeights
from surgeon_engine.session import Session
from surgeon_engine.shots.patient import Factors, Patient
from surgeon_engine.shots.removal import remove, selection

GRID = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_START = (GRID.index(0.1), GRID.index(0.1))
_START_SPARSE = (GRID.index(0.03), GRID.index(0.1))
_MOST_BEFORE_THE_LAST = GRID.index(0.1)  # of the update's damping
_UPDATE = ((0, -1), (0, 1))
_COST = ((-1, 0), (1, 0))  # dearer to try: all costs have to be computed again
_LESS_COST = ((-1, 0),)
_HELD_OUT = 4  # one of so many windows

Place = tuple[int, int]  # of the damping of costs and of the update in GRID
Ways = tuple[tuple[Place, ...], ...]  # moves by so much; of each way only one is taken


def split(windows: Tensor) -> tuple[Tensor, Tensor] | None:
    """The windows that are measured first, and the held-out ones; None: too few."""
    held = len(windows) // _HELD_OUT
    if held == 0:
        return None
    return windows[:-held], windows[-held:]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the held-out windows think of a model."""

    losses: Tensor | None  # of each of their tokens, in nats; None: not all are numbers

    @property
    def loss(self) -> float:
        """The mean; infinite where there is none."""
        return math.inf if self.losses is None else self.losses.mean().item()

    def is_clearly_better_than(self, other: Verdict) -> bool:
        """Whether it loses less, by more than the standard error of the difference."""
        if self.losses is None:
            return False
        if other.losses is None:
            return True
        gain = other.losses - self.losses
        error = gain.std() / math.sqrt(gain.numel())
        return bool(gain.mean() > error)


def verdict(patient: Patient, held: Tensor) -> Verdict:
    """The next-token losses on `held` (windows x length)."""
    batch = patient.config.calibration.batch
    losses = token_losses(patient.loaded.model, held, batch, lambda: None)
    return Verdict(losses if bool(losses.isfinite().all()) else None)


def held_out_loss(patient: Patient, held: Tensor) -> float:
    """The mean next-token loss on `held`; infinite where it is not a number."""
    return verdict(patient, held).loss


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What the dampings are tried on."""

    factors: Factors  # of the windows that are not held out
    held: Tensor
    budget: int  # weights to be gone
    shot: int
    is_last: bool
    before: DampingChoice | None  # of the shot before: where the search begins


def choose_damping(patient: Patient, task: Task, session: Session) -> DampingChoice:
    """The damping that loses least on the held-out windows, as far as they can tell.

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

    def verdict_at(place: Place) -> Verdict:
        session.check()
        pruning = with_damping(config, GRID[place[0]], GRID[place[1]])
        try:
            removed = removed_at(pruning.cost_damping)
            with kept:
                remove(patient, task.factors, pruning, removed, session.check)
                return verdict(patient, task.held)
        except CurvatureError:
            return Verdict(None)  # too little damping for these factors

    start = _START_SPARSE if config.structure in SPARSE else _START
    if task.before is not None:
        start = (GRID.index(task.before.cost), GRID.index(task.before.update))
    ways = _ways(config, is_first=task.before is None)
    most = len(GRID) - 1 if task.is_last else _MOST_BEFORE_THE_LAST
    with session.stage(Stage.DAMPING, task.shot):
        tried, chosen = search(verdict_at, start, ways, most)
    if tried[chosen].losses is None:
        raise CurvatureError(
            f"None of the {len(tried)} dampings that were tried leaves a model with a "
            "finite loss.",
            "Remove less in a shot, or use more calibration text.",
        )
    cost, update = chosen
    return DampingChoice(GRID[cost], GRID[update], len(tried), tried[chosen].loss)


def _ways(pruning: PruningConfig, *, is_first: bool) -> Ways:
    """Where the search may go, by how long a trial takes."""
    if pruning.structure in SPARSE:
        return (_UPDATE,)
    return (_UPDATE, _COST if is_first else _LESS_COST)


def with_damping(pruning: PruningConfig, cost: float, update: float) -> PruningConfig:
    """The same settings with these dampings."""
    return dataclasses.replace(pruning, cost_damping=cost, update_damping=update)


def search(
    verdict_at: Callable[[Place], Verdict],
    start: Place,
    ways: Ways,
    most: int,
) -> tuple[dict[Place, Verdict], Place]:
    """The places that a search from `start` has tried, and the one it ends at.

    Each way is followed while it helps, one after the other, up to the place `most` of
    the update's damping; where nothing has a finite loss yet, towards more damping,
    however much.
    """
    tried = {start: verdict_at(start)}
    chosen = start
    for moves in ways:
        for move in moves:
            before = chosen
            while (place := _moved(chosen, move)) is not None:
                fails = tried[chosen].losses is None
                if place[1] > most and not fails:
                    break
                if place not in tried:
                    tried[place] = verdict_at(place)
                still_fails = fails and tried[place].losses is None
                helps = tried[place].is_clearly_better_than(tried[chosen])
                if not (helps or (still_fails and sum(move) > 0)):
                    break
                chosen = place
            if chosen != before:
                break  # the way back is worse
    return tried, chosen


def _moved(place: Place, move: Place) -> Place | None:
    """The next place that way; None: outside of the grid."""
    cost, update = place[0] + move[0], place[1] + move[1]
    inside = range(len(GRID))
    return (cost, update) if cost in inside and update in inside else None
