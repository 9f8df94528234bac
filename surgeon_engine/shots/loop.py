"""Shot after shot, and the correction at the end: what is kept, and what is undone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from surgeon_engine.api.errors import EngineError
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import Corrected, Evaluation, ShotFinished, Stage
from surgeon_engine.pruning.schedule import share_of_goal
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.correction import correct
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.compaction_step import compact_model
from surgeon_engine.shots.quality_budget import CorrectedShot, QualityBudget
from surgeon_engine.shots.shot import ShotPlan, evaluation, run_shot
from surgeon_engine.shots.target_check import check_target_reached, is_reached

_FAILURES = (EngineError, MemoryError, RuntimeError)
_FINEST = 8  # parts into which a quality budget may divide the step of a shot


@dataclass(frozen=True, slots=True)
class PruningResult:
    """What came of all shots."""

    shots: tuple[ShotFinished, ...]
    corrected: Corrected | None  # None: not asked for, or undone
    is_at_goal: bool  # all of it is gone, to what can be told apart
    stopped_early: bool  # neither the goal nor a quality budget ended them


def run_shots(
    state: PruningState, allowed: QualityBudget, context: RunContext
) -> PruningResult:
    """All shots, and the correction where one is asked for and not undone.

    Raises:
        PruningError: nothing at all can be removed within the budget or the target.
        EngineError: not even the smallest step, or the first shot, can be measured.
        RunCancelled: the user has cancelled.
    """
    course = _shots(state, allowed, context)
    if state.config.pruning.is_corrected and course.corrected is None:
        corrected = _corrected(state, allowed, context)
        course = replace(course, corrected=corrected)
    if allowed.is_set and course.is_at_goal:
        found = (course.corrected or course.shots[-1]).evaluation
        context.emit(allowed.log_headroom(found))
    return course


class _Steps:
    """How far the shots have come, and how far the next one goes.

    Both are counted in parts, of which a quality budget may take fewer at once than a
    shot has. Between two shots of the schedule the parts are equal.
    """

    def __init__(self, state: PruningState) -> None:
        self._pruning, self._goal = state.config.pruning, state.goal
        self._done, self._step = 0, _FINEST
        self._removed = 0  # weights that are gone
        self._too_much: float = math.inf  # weights: what was asked for and undone
        self._same: float = math.inf  # from where on what was undone would go again

    @property
    def is_over(self) -> bool:
        """Whether all that is to go has been asked for."""
        return self._done == self._pruning.shots * _FINEST

    @property
    def is_stuck(self) -> bool:
        """Whether no step is left that was not undone, although not all is gone."""
        return self._step == 0 and not self.is_over

    @property
    def share(self) -> float:
        """The share of the goal that is to be gone after the next step."""
        return self._share(self._done + self._step)

    def take(self, removed: int) -> None:
        """Go on after the step, with so many weights gone in all.

        If some are new, the curvature of what is left is another.
        """
        self._done += self._step
        if removed > self._removed:
            self._removed, self._same = removed, math.inf
        self._shorten()

    def undo(self, removed: int) -> None:
        """Ask for less than that step did.

        removed: how many weights were gone after it, 0 if that is not known. From here
        whatever asks for as many removes the same.
        """
        self._too_much = self._asked
        self._same = removed or self._asked
        self._shorten()

    @property
    def _asked(self) -> int:
        """How many weights are to be gone after the next step, at most."""
        return self._goal.asked(self.share)

    def _shorten(self) -> None:
        self._step = min(self._step, self._pruning.shots * _FINEST - self._done)
        while self._step > 0 and self._asked >= min(self._too_much, self._same):
            self._step //= 2

    def _share(self, parts: int) -> float:
        schedule, all_shots = self._pruning.schedule, self._pruning.shots
        shots, more = divmod(parts, _FINEST)
        share = share_of_goal(shots / all_shots, schedule)
        if more:
            after = share_of_goal((shots + 1) / all_shots, schedule)
            share += (after - share) * more / _FINEST
        return share


def _shots(
    state: PruningState, allowed: QualityBudget, context: RunContext
) -> PruningResult:
    """Shot after shot until the goal is reached, or the quality budget is spent.

    A shot that passes the budget, with the correction too where there is one, is undone
    and tried again with half the step; what was undone once is not asked for again, and
    no step is taken that would remove the same. Without a budget a shot that fails ends
    them. Gives the correction if the last shot needs it.

    Raises:
        PruningError: nothing at all can be removed within the budget or the target.
        EngineError: not even the smallest step, or the first shot, can be measured.
    """
    shots: list[ShotFinished] = []
    corrected_shot: CorrectedShot | None = None  # of the last shot
    steps, tried = _Steps(state), _Try()
    while not (steps.is_over or steps.is_stuck or (shots and context.stops_after_shot)):
        last = shots[-1].damping if shots else None
        plan = ShotPlan(len(shots) + 1, steps.share, last)
        tried = _try_shot(state, plan, allowed, context)
        if tried.shot is None:
            if not allowed.is_set:
                break
            steps.undo(tried.removed)
            continue
        steps.take(state.goal.removed_at(tried.shot.parameters))
        corrected_shot = tried.corrected_shot
        shots.append(tried.shot)
        context.emit(tried.shot)
        if corrected_shot is None:
            compact_model(state)
        else:
            context.emit(
                allowed.log_kept_with_correction(tried.shot, corrected_shot.corrected)
            )
    if not shots or (steps.is_stuck and shots[-1].sparsity == 0):
        raise tried.failure or allowed.refusal()
    if tried.failure is not None and not allowed.is_set:
        of, words = state.config.pruning.shots, _words_of(tried.failure)
        words = f"The run ends after shot {len(shots)} of {of}. {words}"
        context.emit(Logged(Level.WARNING, words))
    corrected = None
    if corrected_shot is not None:
        state.restore(corrected_shot.snapshot)
        context.emit(corrected_shot.corrected)
        corrected = corrected_shot.corrected
    check_target_reached(state.goal, shots[-1], context, is_over=steps.is_over)
    return PruningResult(
        tuple(shots),
        corrected,
        is_at_goal=steps.is_over and is_reached(state.goal, shots[-1]),
        stopped_early=not (steps.is_over or steps.is_stuck),
    )


@dataclass(frozen=True, slots=True)
class _Try:
    """What became of a shot."""

    shot: ShotFinished | None = None  # None: it is undone
    corrected_shot: CorrectedShot | None = None  # None: it needs none
    failure: Exception | None = None
    removed: int = 0  # weights that were gone with one that passed the budget


def _try_shot(
    state: PruningState, plan: ShotPlan, allowed: QualityBudget, context: RunContext
) -> _Try:
    """A shot, which is undone if it passes the quality budget, or fails.

    Without a budget there is nothing to undo it by: one that fails before it has
    written a weight has at least spoilt nothing.

    Raises:
        EngineError: it fails; there is no budget, and no shot before to keep, or it has
            begun to write weights.
    """
    before = state.take_snapshot() if allowed.is_set else None
    failure: Exception | None = None
    try:
        shot = run_shot(state, plan, context)
        judged, corrected_shot = _judged(state, shot, allowed, context)
    except _FAILURES as error:
        words = _words_of(error)
        if before is None and (plan.number == 1 or state.is_partially_updated):
            raise
        failure = error.with_traceback(None)  # whose frames hold what there was
    if failure is not None:
        devices.give_memory_back()
        if before is not None:
            state.restore(before)
            context.emit(Logged(Level.INFO, f"A shot is undone. {words}"))
        return _Try(failure=failure)
    if before is not None and allowed.is_passed(judged):
        state.restore(before)
        context.emit(allowed.log_rejected(shot, judged))
        return _Try(removed=state.goal.removed_at(shot.parameters))
    return _Try(shot, corrected_shot)


def _judged(
    state: PruningState, shot: ShotFinished, allowed: QualityBudget, context: RunContext
) -> tuple[Evaluation, CorrectedShot | None]:
    """By what a shot is measured against the budget: itself, or what it may become.

    The patient is left as the shot has left it.
    """
    passes = allowed.is_passed(shot.evaluation)
    if not passes or not state.config.pruning.is_corrected:
        return shot.evaluation, None
    uncorrected = state.take_snapshot()
    corrected = _take_steps(state, context, shot.shot)
    corrected_shot = CorrectedShot(corrected, state.take_snapshot())
    state.restore(uncorrected)
    return corrected.evaluation, corrected_shot


def _corrected(
    state: PruningState, allowed: QualityBudget, context: RunContext
) -> Corrected | None:
    """The correction of the last shot; None: it is undone.

    That is where it would pass the quality budget, or fails: the shots are all done,
    and nothing that comes after them may lose them.
    """
    before, corrected, words = None, None, ""
    try:
        before = state.take_snapshot()
        corrected = _take_steps(state, context)
    except _FAILURES as error:
        words = _words_of(error)
    if before is None or corrected is None:
        devices.give_memory_back()
        if before is not None:
            state.restore(before)
        context.emit(Logged(Level.WARNING, f"The correction is undone. {words}"))
        return None
    if allowed.is_passed(corrected.evaluation):
        state.restore(before)
        context.emit(allowed.log_rejected_correction(corrected.evaluation))
        return None
    context.emit(corrected)
    return corrected


def _words_of(error: Exception) -> str:
    """What to tell of a failure that ends less than the run.

    Raises:
        Exception: the error itself, where it is none that anybody foresees.
    """
    if isinstance(error, EngineError):
        return error.message
    if devices.is_out_of_memory(error):
        return "There is not enough memory for it."
    raise error


def _take_steps(state: PruningState, context: RunContext, shot: int = 0) -> Corrected:
    """Steps along the gradient, and what the validation windows say of them."""
    begun = context.clock()
    steps = correct(state, context, shot)
    return Corrected(
        steps.lengths,
        steps.loss_before,
        steps.loss_after,
        evaluation(state, context, Stage.EVALUATION, shot),
        context.clock() - begun,
    )
