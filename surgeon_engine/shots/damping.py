"""Chooses the damping of costs and update by what held-out windows think of it.

A covariance of few tokens is uncertain, and how much it may be trusted depends on the
text, its length, the structure and how much has gone. So each damping is tried: the
factors of one part of the calibration windows choose and update, the loss on the other
part judges, and the weights are put back. The search goes over a coarse grid, in the
first shot from a damping on that has done well on other models and texts, in the others
from the one before; first for the update's damping, then for that of the costs.

A few held-out windows cannot tell small differences apart, and following their chance
makes a run worse. So the search goes on only where that loses less by more than the
standard error of the difference. Much damping of the update is better at once but worse
later, since less of what went is left in the weights that the next shots choose from:
it may only be chosen in the last shot. That of the costs, which takes longer to try,
is only lowered after the first shot: with more gone, less has done better. More than
0.1 is for runs of one shot, and for single weights, of which a shot takes more than
their costs know of. (docs/results.md has the figures.)

The factors of the held-out part are then added to those of the first, so that nothing
measured is wasted; validation windows take no part.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from surgeon_engine.api.config.pruning import SPARSE, FixedDamping, PruningConfig
from surgeon_engine.api.errors import CurvatureError
from surgeon_engine.api.messages.run import DampingChoice, Stage
from surgeon_engine.evaluation.held_out import Trial, try_on
from surgeon_engine.model.layers import KeptWeights
from surgeon_engine.pruning.measure_curvature import Factors
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.selection import remove, selection

GRID = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_START = (GRID.index(0.1), GRID.index(0.1))
_START_SPARSE = (GRID.index(0.03), GRID.index(0.1))
_MAX = (GRID.index(0.1), GRID.index(0.1))  # before the last shot
_MAX_SPARSE = (GRID.index(1.0), GRID.index(0.1))
_AT_ONCE = 0.1  # nats that coming back to the most may cost
_UPDATE = ((0, -1), (0, 1))
_COST = ((-1, 0), (1, 0))  # dearer to try: all costs have to be computed again
_LESS_COST = ((-1, 0),)

Place = tuple[int, int]  # of the damping of costs and of the update in GRID
Moves = tuple[Place, ...]  # by so many places; of opposite ones at most one helps


@dataclass(frozen=True, slots=True, eq=False)
class DampingSearch:
    """What the dampings are tried on."""

    factors: Factors  # of the windows that are not held out
    held: Tensor
    budget: int  # weights to be gone
    shot: int
    is_last: bool
    before: DampingChoice | None  # of the shot before: where the search begins


def choose_damping(
    state: PruningState, task: DampingSearch, context: RunContext
) -> DampingChoice:
    """The damping that loses least on the held-out windows, as far as they can tell.

    Raises:
        CurvatureError: none of the dampings leaves a model with a finite loss.
        PruningError: that many weights may not go.
    """
    config = state.config.pruning
    layers = [layer for unit in state.units for layer in unit.layers]
    model, batch = state.loaded.model, state.config.calibration.batch

    kept = KeptWeights(layers)

    @functools.lru_cache(maxsize=1)  # a mask of all weights each
    def removed_at(cost_damping: float) -> dict[str, Tensor]:
        pruning = with_damping(config, cost_damping, config.fixed_damping.update)
        return selection(state, task.factors, pruning, task.budget).removed

    def trial_at(place: Place) -> Trial:
        context.check()
        pruning = with_damping(config, GRID[place[0]], GRID[place[1]])
        try:
            removed = removed_at(GRID[place[0]])
            with kept:
                remove(state, task.factors, pruning, removed, context.check)
                return try_on(model, task.held, batch)
        except CurvatureError:
            return Trial(None)  # too little damping for these factors

    sparse = config.kind in SPARSE
    start = _START_SPARSE if sparse else _START
    if task.before is not None:
        start = (GRID.index(task.before.cost), GRID.index(task.before.update))
    moves = (_UPDATE, _COST if task.before is None else _LESS_COST)
    most = _MAX_SPARSE if sparse else _MAX
    if task.is_last:
        most = (len(GRID) - 1, len(GRID) - 1)
    with context.stage(Stage.DAMPING, task.shot):
        tried, chosen = search(trial_at, start, moves, most)
    if tried[chosen].losses is None:
        raise CurvatureError(
            f"None of the {len(tried)} dampings that were tried leaves a model with a "
            "finite loss.",
            "Remove less in a shot, or use more calibration text.",
        )
    cost, update = chosen
    return DampingChoice(GRID[cost], GRID[update], len(tried), tried[chosen].loss)


def with_damping(pruning: PruningConfig, cost: float, update: float) -> PruningConfig:
    """The same settings with these dampings."""
    return dataclasses.replace(pruning, damping=FixedDamping(cost, update))


def search(
    trial_at: Callable[[Place], Trial],
    start: Place,
    moves: tuple[Moves, ...],
    most: Place,
) -> tuple[dict[Place, Trial], Place]:
    """The places that a search from `start` has tried, and the one it ends at.

    Where it begins, both dampings are raised until there is a loss. Then each of the
    moves is followed while it helps; none is raised beyond its `most`, and one that is
    beyond it is lowered to it where that costs little at once.
    """
    look = _GridSearch(trial_at, most)
    here = look.begin(start)
    if look.tried[here].losses is not None:
        for opposite in moves:
            ends = (look.follow(here, move) for move in opposite)
            here = next((end for end in ends if end != here), here)
    return look.tried, here


class _GridSearch:
    """What has been tried, and the steps of a search."""

    def __init__(self, trial_at: Callable[[Place], Trial], most: Place) -> None:
        self.tried: dict[Place, Trial] = {}
        self._trial_at = trial_at
        self._most = most

    def begin(self, start: Place) -> Place:
        """The first place with a loss, from `start` on towards more of both."""
        last, here = len(GRID) - 1, start
        while self._trial(here).losses is None and here != (last, last):
            here = (min(here[0] + 1, last), min(here[1] + 1, last))
        return here

    def follow(self, here: Place, move: Place) -> Place:
        """The place at which `move` helps no longer."""
        while (there := _moved(here, move)) is not None and self._accepts(here, there):
            here = there
        return here

    def _accepts(self, here: Place, there: Place) -> bool:
        of = 0 if here[0] != there[0] else 1  # the damping that changes
        now, then, most = here[of], there[of], self._most[of]
        if then > max(now, most):
            return False
        trial = self._trial(there)
        if then < now and now > most:
            return trial.loss < self._trial(here).loss + _AT_ONCE
        return trial.is_better_beyond_chance(self._trial(here))

    def _trial(self, place: Place) -> Trial:
        if place not in self.tried:
            self.tried[place] = self._trial_at(place)
        return self.tried[place]


def _moved(place: Place, move: Place) -> Place | None:
    """The next place that way; None: outside of the grid."""
    cost, update = place[0] + move[0], place[1] + move[1]
    inside = range(len(GRID))
    return (cost, update) if cost in inside and update in inside else None
