"""Shot after shot, and the correction at the end: what is kept, and what is undone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from surgeon_engine import devices
from surgeon_engine.errors import EngineError
from surgeon_engine.events import (
    Corrected,
    Evaluation,
    Level,
    Logged,
    ShotFinished,
    Stage,
)
from surgeon_engine.pruning.schedule import share_of_goal
from surgeon_engine.session import Session
from surgeon_engine.shots import shrinking
from surgeon_engine.shots.correction import correct
from surgeon_engine.shots.patient import Patient
from surgeon_engine.shots.quality_budget import QualityBudget, Rescue, Snapshot
from surgeon_engine.shots.refusals import tell_what_is_missing
from surgeon_engine.shots.shot import Round, evaluation, run_shot

_FAILURES = (EngineError, MemoryError, RuntimeError)
_FINEST = 8  # parts into which a quality budget may divide the step of a shot


def run_shots(
    patient: Patient, allowed: QualityBudget, session: Session
) -> tuple[list[ShotFinished], Corrected | None]:
    """All shots, and the correction where one is asked for and not undone.

    Raises:
        PruningError: nothing at all can be removed within the budget or the target.
        EngineError: not even the smallest step, or the first shot, can be measured.
        RunCancelled: the user has cancelled.
    """
    shots, corrected = _shots(patient, allowed, session)
    if patient.config.pruning.is_corrected and corrected is None:
        corrected = _corrected(patient, allowed, session)
    return shots, corrected


def _shots(
    patient: Patient, allowed: QualityBudget, session: Session
) -> tuple[list[ShotFinished], Corrected | None]:
    """Shot after shot until the goal is reached, or the quality budget is spent.

    A shot that passes the budget, with the correction too where there is one, is undone
    and tried again with half the step; what was undone once is not asked for again.
    Without a budget a shot that fails ends them. Gives the correction if the last shot
    needs it.

    Raises:
        PruningError: nothing at all can be removed within the budget or the target.
        EngineError: not even the smallest step, or the first shot, can be measured.
    """
    pruning = patient.config.pruning
    shots: list[ShotFinished] = []
    rescue: Rescue | None = None  # of the last shot
    tried = _Try()
    done, step, all_of_it = 0, _FINEST, pruning.shots * _FINEST
    too_much = math.inf  # parts: what was undone
    while done < all_of_it and step > 0 and not (shots and session.stops_after_shot):
        step = min(step, all_of_it - done)
        share = share_of_goal((done + step) / all_of_it, pruning.schedule)
        last = shots[-1].damping if shots else None
        tried = _try_shot(patient, Round(len(shots) + 1, share, last), allowed, session)
        if tried.shot is None:
            if not allowed.is_set:
                break
            too_much = done + step
            step //= 2
            continue
        done += step
        while step > 0 and done + step >= too_much:
            step //= 2
        rescue = tried.rescue
        shots.append(tried.shot)
        session.emit(tried.shot)
        if rescue is None:
            shrinking.shrink(patient)
        else:
            session.emit(allowed.what_is_rescued(tried.shot, rescue.corrected))
    if not shots or (step == 0 and shots[-1].sparsity == 0):
        raise tried.failure or allowed.refusal()
    if tried.failure is not None and not allowed.is_set:
        words = f"The run ends after shot {len(shots)} of {pruning.shots}."
        session.emit(Logged(Level.WARNING, f"{words} {_words_of(tried.failure)}"))
    if allowed.is_set and done == all_of_it:
        session.emit(allowed.what_is_left(shots[-1]))
    tell_what_is_missing(patient.goal, shots[-1], session, is_over=done == all_of_it)
    if rescue is None:
        return shots, None
    rescue.snapshot.restore()
    session.emit(rescue.corrected)
    return shots, rescue.corrected


@dataclass(frozen=True, slots=True)
class _Try:
    """What became of a shot."""

    shot: ShotFinished | None = None  # None: it is undone
    rescue: Rescue | None = None  # None: it needs none
    failure: Exception | None = None


def _try_shot(
    patient: Patient, this: Round, allowed: QualityBudget, session: Session
) -> _Try:
    """A shot, which is undone if it passes the quality budget, or fails.

    Without a budget there is nothing to undo it by: one that fails before it has
    written a weight has at least spoilt nothing.

    Raises:
        EngineError: it fails; there is no budget, and no shot before to keep.
    """
    before = Snapshot(patient) if allowed.is_set else None
    failure: Exception | None = None
    try:
        shot = run_shot(patient, this, session)
        judged, rescue = _judged(patient, shot, allowed, session)
    except _FAILURES as error:
        words = _words_of(error)
        if before is None and (this.number == 1 or patient.is_cut_open):
            raise
        failure = error.with_traceback(None)  # whose frames hold what there was
    if failure is not None:
        devices.give_memory_back()
        if before is not None:
            before.restore()
            session.emit(Logged(Level.INFO, f"A shot is undone. {words}"))
        return _Try(failure=failure)
    if before is not None and allowed.is_passed(judged):
        before.restore()
        session.emit(allowed.what_passed(shot, judged))
        return _Try()
    return _Try(shot, rescue)


def _judged(
    patient: Patient, shot: ShotFinished, allowed: QualityBudget, session: Session
) -> tuple[Evaluation, Rescue | None]:
    """By what a shot is measured against the budget: itself, or what it may become.

    The patient is left as the shot has left it.
    """
    passes = allowed.is_passed(shot.evaluation)
    if not passes or not patient.config.pruning.is_corrected:
        return shot.evaluation, None
    uncorrected = Snapshot(patient)
    corrected = _take_steps(patient, session, shot.shot)
    rescue = Rescue(corrected, Snapshot(patient))
    uncorrected.restore()
    return corrected.evaluation, rescue


def _corrected(
    patient: Patient, allowed: QualityBudget, session: Session
) -> Corrected | None:
    """The correction of the last shot; None: it is undone.

    That is where it would pass the quality budget, or fails: the shots are all done,
    and nothing that comes after them may lose them.
    """
    before, corrected, words = None, None, ""
    try:
        before = Snapshot(patient)
        corrected = _take_steps(patient, session)
    except _FAILURES as error:
        words = _words_of(error)
    if before is None or corrected is None:
        devices.give_memory_back()
        if before is not None:
            before.restore()
        session.emit(Logged(Level.WARNING, f"The correction is undone. {words}"))
        return None
    if allowed.is_passed(corrected.evaluation):
        before.restore()
        session.emit(allowed.what_the_correction_passed(corrected.evaluation))
        return None
    session.emit(corrected)
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


def _take_steps(patient: Patient, session: Session, shot: int = 0) -> Corrected:
    """Steps along the gradient, and what the validation windows say of them."""
    begun = session.clock()
    steps = correct(patient, session, shot)
    return Corrected(
        steps.lengths,
        steps.loss_before,
        steps.loss_after,
        evaluation(patient, session, Stage.EVALUATION, shot),
        session.clock() - begun,
    )
