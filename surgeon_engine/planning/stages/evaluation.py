"""The evaluation of the original and of the pruned model."""

from __future__ import annotations

from surgeon_engine.planning import speed
from surgeon_engine.planning.constants import FLOAT, LOGITS_AT_ONCE
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.planning.stages.need import ANY_NUMBER, Moment, StageNeed

_MIDDLE = 0.75  # share of the windows that an evaluation in the middle of a run reads
_COPIES = 5.0  # float32 copies of the logits of two models, without gradients


def evaluated(job: Job, windows: int) -> float:
    """Return the maximum bytes that a forward holds for a batch.

    That is the logits of both models for a part of it, with their loss, or scores.
    """
    numbers = job.tokens(windows) * job.model.vocabulary
    logits = min(numbers, LOGITS_AT_ONCE) * FLOAT * _COPIES
    return max(logits, job.scores(job.tokens(windows)))


def baseline(job: Job) -> StageNeed:
    """State the need of the original's evaluation, also on held-out windows."""
    held_out = speed.forward(job, job.held_out)
    seconds = speed.forward(job, job.judging_windows) + held_out
    if Kind.BASELINE in job.measured_before:
        seconds = job.references / speed.DISK
    return StageNeed(seconds, ANY_NUMBER, _moments(job))


def evaluation(job: Job) -> StageNeed:
    """State the need of the evaluations after each shot and after recovery."""
    pruning, recovers = job.config.pruning, bool(job.recovery_windows)
    if pruning.has_quality_limit:
        times: float = pruning.shots + recovers
    else:
        is_left_out = recovers and not job.config.evaluation.before_recovery
        times = 1 + _MIDDLE * (pruning.shots - 1 + recovers - is_left_out)
    seconds = times * speed.forward(job, job.judging_windows)
    return StageNeed(seconds, ANY_NUMBER, _moments(job))


def _moments(job: Job) -> tuple[Moment, ...]:
    logits = evaluated(job, job.config.calibration.validation_windows)
    # Offloaded blocks run on all windows, one after another.
    states = job.references if job.offloads else 0
    return (Moment(logits, states=states),)
