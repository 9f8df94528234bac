"""Run shot after shot, then recovery; roll back shots that exceed the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from surgeon_engine.api.messages.run import (
    Evaluation,
    Recovered,
    RecoveryUndone,
    ShotFinished,
    UndoReason,
)
from surgeon_engine.base.errors import EngineError, PruningError
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.evaluation.evaluate import is_whole
from surgeon_engine.planning.target_size import TARGET_TOLERANCE, Goal
from surgeon_engine.pruning.state import PruningState, Snapshot
from surgeon_engine.recovery.recover import recover, recovery_text
from surgeon_engine.runtime import devices, ranks
from surgeon_engine.runtime.failures import is_out_of_memory
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.compaction_step import compact_state
from surgeon_engine.shots.quality_budget import QualityBudget, RecoveredShot
from surgeon_engine.shots.resume import restore, save_recovered, save_shot
from surgeon_engine.shots.shot import evaluation, run_shot, unpruned_shot
from surgeon_engine.shots.smaller_batches import with_smaller_batches
from surgeon_engine.shots.steps import ShotPlan, Steps

_FAILURES = (EngineError, MemoryError, RuntimeError)


@dataclass(frozen=True, slots=True)
class PruningResult:
    """The outcome of all shots."""

    shots: tuple[ShotFinished, ...]
    recovered: Recovered | None  # None: no recovery, or it was rolled back
    is_at_goal: bool  # the target was reached within tolerance
    stopped_early: bool  # before the target, a quality budget or the end of recovery


def run_shots(
    state: PruningState,
    budget: QualityBudget,
    context: RunContext,
    after_shot: Callable[[int], None] = lambda shot: None,
) -> PruningResult:
    """Run all shots, and recovery if the settings ask for it.

    If the saver of `context` holds the state of an interrupted run, this one goes
    on from there. `after_shot` is called after each shot that is kept, with its
    number.

    Raises:
        PruningError: nothing can be removed within the budget or the target.
        EngineError: the smallest step, or the first shot, failed.
        RunCancelled: the user has cancelled.
    """
    if state.config.pruning.removes_nothing:
        shot = unpruned_shot(state, context)
        context.emit(shot)
        return PruningResult((shot,), None, is_at_goal=True, stopped_early=False)
    saved = context.saver.saved
    result = _shots(state, budget, context, after_shot)
    if saved.is_recovered and saved.are_shots_over:
        result = replace(result, recovered=saved.recovered)
        if saved.recovered is not None:
            context.emit(saved.recovered)
    elif state.config.recovery.recovers and result.recovered is None:
        result = _with_recovery(result, state, budget, context)
        if not result.stopped_early:
            save_recovered(state, result.recovered, context)
    found = result.shots[-1].evaluation
    is_evaluated = found is not None and is_whole(found, state.references)
    if result.recovered is None and not is_evaluated:
        result = _with_evaluation(result, state, context)
    last = (result.recovered or result.shots[-1]).evaluation
    if budget.is_set and result.is_at_goal and last is not None:
        context.inform(budget.headroom(last))
    return result


def _with_evaluation(
    result: PruningResult, state: PruningState, context: RunContext
) -> PruningResult:
    """Return the result with a whole evaluation of its last shot."""
    *others, last = result.shots
    found = evaluation(state, context, last.shot, earlier=last.evaluation)
    last = msgspec.structs.replace(last, evaluation=found)
    context.emit(last)
    return replace(result, shots=(*others, last))


def _shots(
    state: PruningState,
    budget: QualityBudget,
    context: RunContext,
    after_shot: Callable[[int], None],
) -> PruningResult:
    """Run shots until the goal is reached or the quality budget is used up.

    A shot that exceeds the budget, after recovery if there is one, is rolled back and
    tried again with half the step. A request that was rolled back is not repeated, nor
    one that would remove the same. Without a budget a failed shot ends the loop. The
    next shot starts from the weights before recovery; the result has recovery if the
    last shot needs it. A resumed run repeats a shot whose recovery was stopped.

    Raises:
        PruningError: nothing can be removed within the budget or the target.
        EngineError: the smallest step, or the first shot, failed.
    """
    saved = context.saver.saved
    shots = list(saved.shots)
    recovered_shot = restore(state, context) if shots else None
    steps, attempt = Steps(state, saved.steps), _Attempt()
    while not (
        saved.are_shots_over or steps.is_at_end or (shots and context.stops_after_shot)
    ):
        previous = shots[-1].damping if shots else None
        plan = ShotPlan(len(shots) + 1, steps.share, previous)
        attempt = _try_shot(state, plan, budget, context)
        if attempt.shot is None:
            # Without recovery, a shot may be rejected that would pass with it.
            is_final = not (_recovers(state) and context.stops_after_shot)
            if not budget.is_set or (shots and not is_final):
                break
            steps.undo(attempt.removed, is_final=is_final)
            context.save({}, steps=steps.saved)
            continue
        recovered_shot = attempt.recovered_shot
        state.release_gates()
        shots.append(attempt.shot)
        context.emit(attempt.shot)
        after_shot(attempt.shot.shot)
        if recovered_shot is None:
            compact_state(state)
        else:
            kept = budget.kept_with_recovery(attempt.shot, recovered_shot.recovered)
            context.inform(kept)
        if recovered_shot is None or not recovered_shot.recovered.stopped_early:
            steps.take(state.goal.removed_at(attempt.shot.parameters))
            save_shot(state, shots, steps.saved, recovered_shot, context)
    if not shots or (steps.is_stuck and _is_unchanged(state.goal, shots[-1])):
        raise attempt.failure or budget.error()
    if attempt.failure is not None and not budget.is_set:
        end = say(
            "The run ends after shot {shot} of {total}.",
            shot=len(shots),
            total=state.config.pruning.shots,
        )
        context.warn(say_all(end, _describe(attempt.failure)))
    context.save({}, steps=steps.saved, are_shots_over=steps.is_at_end)
    if recovered_shot is not None:
        state.restore(recovered_shot.snapshot)
        context.emit(recovered_shot.recovered)
    _check_target_reached(state.goal, shots[-1], context, is_over=steps.is_over)
    return PruningResult(
        tuple(shots),
        recovered_shot.recovered if recovered_shot is not None else None,
        is_at_goal=steps.is_over and _is_reached(state.goal, shots[-1]),
        stopped_early=not steps.is_at_end,
    )


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The outcome of trying a shot."""

    shot: ShotFinished | None = None  # None: it failed or was rolled back
    recovered_shot: RecoveredShot | None = None  # None: it needs no recovery
    failure: Exception | None = None
    removed: int = 0  # weights removed by a shot that exceeded the budget


def _try_shot(
    state: PruningState, plan: ShotPlan, budget: QualityBudget, context: RunContext
) -> _Attempt:
    """Run a shot, and roll it back if it exceeds the quality budget or fails.

    Without a budget there is no snapshot to roll back to: a shot that fails must not
    have written any weights.

    Raises:
        EngineError: the shot failed without a budget, and it was the first or had
            begun to write weights.
    """
    before = state.take_snapshot() if budget.is_set else None
    failure: Exception | None = None
    try:
        with ranks.together():
            # Recovery, and its evaluation, will follow the last shot.
            ends = plan.is_last and not context.stops_after_shot
            recovers = not budget.is_set and ends and _recovers(state)
            shot = run_shot(
                state,
                plan,
                context,
                evaluates=not recovers or state.config.evaluation.before_recovery,
                is_result=budget.is_set or (plan.is_last and not recovers),
            )
            judged, recovered_shot = _judged(state, shot, budget, context)
    except _FAILURES as error:
        reason = _describe(error)
        if before is None and (plan.number == 1 or state.is_partially_updated):
            raise
        failure = error.with_traceback(None)  # its frames hold the shot's tensors
    if failure is not None:
        devices.release_memory()
        if before is not None:
            state.restore(before)
            context.inform(say_all(say("A shot is rolled back."), reason))
        return _Attempt(failure=failure)
    if before is not None and judged and budget.is_exceeded_by(judged):
        state.restore(before)
        context.inform(budget.rejected(shot, judged))
        return _Attempt(removed=state.goal.removed_at(shot.parameters))
    return _Attempt(shot, recovered_shot)


def _judged(
    state: PruningState, shot: ShotFinished, budget: QualityBudget, context: RunContext
) -> tuple[Evaluation | None, RecoveredShot | None]:
    """Return the evaluation to compare with the budget.

    If the shot exceeds the budget and the run has recovery, this is the evaluation of
    the recovered shot. The state is left as the shot has left it. After a stop,
    recovery would change nothing.
    """
    found = shot.evaluation
    if found is None:  # there is no budget
        return None, None
    exceeds = budget.is_exceeded_by(found) and not context.stops_after_shot
    if not (exceeds and _recovers(state)):
        return found, None
    unrecovered = state.take_snapshot()
    recovered = _recover_and_evaluate(state, unrecovered, found, context, shot.shot)
    assert recovered is not None
    recovered_shot = RecoveredShot(recovered, state.take_snapshot())
    state.restore(unrecovered)
    return recovered.evaluation, recovered_shot


def _with_recovery(
    result: PruningResult,
    state: PruningState,
    budget: QualityBudget,
    context: RunContext,
) -> PruningResult:
    """Recover the last shot; roll back if that exceeds the budget.

    A recovery that fails is rolled back, too: the shots are complete, and no later
    failure may lose them.
    """
    before, recovered, reason = None, None, ""
    try:
        with ranks.together():
            before = state.take_snapshot()
        found = result.shots[-1].evaluation
        recovered = _recover_and_evaluate(state, before, found, context)
    except _FAILURES as error:
        reason = _describe(error)
    if reason:
        devices.release_memory()
        if before is not None:
            state.restore(before)
        context.warn(say_all(say("Recovery is rolled back."), reason))
        context.emit(RecoveryUndone(UndoReason.FAILED))
    if before is None or recovered is None:
        return result
    stopped_early = result.stopped_early or recovered.stopped_early
    result = replace(result, stopped_early=stopped_early)
    if budget.is_exceeded_by(recovered.evaluation):
        state.restore(before)
        context.inform(budget.rejected_recovery(recovered.evaluation))
        context.emit(RecoveryUndone(UndoReason.LIMIT))
        return result
    context.emit(recovered)
    return replace(result, recovered=recovered)


def _recovers(state: PruningState) -> bool:
    """Return whether the run has recovery, and text for it."""
    return state.config.recovery.recovers and recovery_text(state) is not None


def _describe(error: Exception) -> str:
    """Return a sentence about a failure that does not end the run.

    Raises:
        Exception: the error itself, if it is none that is expected.
    """
    if isinstance(error, EngineError):
        return error.message
    if is_out_of_memory(error):
        return say("There is not enough memory for it.")
    raise error


def _recover_and_evaluate(
    state: PruningState,
    before: Snapshot,
    earlier: Evaluation | None,
    context: RunContext,
    shot: int = 0,
) -> Recovered | None:
    """Recover the model and evaluate it; return None if there is too little text.

    `before` is the model before recovery, and `earlier` its evaluation.
    """

    def work() -> Recovered | None:
        evaluate = partial(evaluation, state, context, shot, earlier=earlier)
        return recover(state, before, evaluate, context, shot)

    return with_smaller_batches(state, context, work, lambda: state.restore(before))


def _is_reached(goal: Goal, last: ShotFinished) -> bool:
    """Return True if the target sparsity was reached within tolerance."""
    return goal.sparsity - last.sparsity <= TARGET_TOLERANCE


def _is_unchanged(goal: Goal, last: ShotFinished) -> bool:
    """Return whether neither weights nor tokens were removed."""
    return last.sparsity == 0 and not goal.of_tokens


def _check_target_reached(
    goal: Goal, last: ShotFinished, context: RunContext, *, is_over: bool
) -> None:
    """Warn if the target was missed; tell if tokens alone have reached it.

    Candidates are removed in the order of their costs until the next one would exceed
    the target, so a large candidate can leave a gap.

    `is_over` is False if the user or a quality budget ended the shots early.

    Raises:
        PruningError: nothing was removed.
    """
    reached = last.sparsity
    if _is_unchanged(goal, last):
        target = round(last.target * goal.prunable)
        hint = say("Raise the target, or choose a finer structure.")
        if not is_over:  # with fewer shots, each has a larger target
            hint = say(
                "Raise the target, use fewer shots, or choose a finer structure."
            )
        raise PruningError(
            "Nothing was removed: the cheapest part has more weights than the "
            "{target:,} that the target removes.",
            hint,
            target=target,
        )
    if is_over and not _is_reached(goal, last):
        context.warn(
            "{reached:percent2} of the prunable weights were removed and not "
            "{sparsity:percent2}: the next part is larger than the rest of the "
            "target.",
            reached=reached,
            sparsity=goal.sparsity,
        )
    elif is_over and reached == 0:
        context.inform("The removed tokens alone reach the target.")
