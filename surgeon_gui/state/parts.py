"""The parts of a run with their times, from its events and the stages to come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from surgeon_engine.api.messages.run import Stage
from surgeon_engine.planning.target_size import prunable_weights
from surgeon_gui.base.latest import latest
from surgeon_gui.state import eta
from surgeon_gui.state.job.file_formats import leaves_zeros
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text.stages import Mark, Part, PartView

# Evaluations and samples belong to the part before them.
_PARTS = {
    Stage.LOAD: Part.READ,
    Stage.TEXT: Part.READ,
    Stage.SAMPLING: Part.WRITE,
    Stage.BASELINE: Part.MEASURE,
    Stage.VOCABULARY: Part.MEASURE,
    Stage.DEPTH: Part.MEASURE,
    Stage.CURVATURE: Part.MEASURE,
    Stage.DAMPING: Part.MEASURE,
    Stage.SELECTION: Part.REMOVE,
    Stage.UPDATE: Part.REMOVE,
    Stage.REFERENCE: Part.REFIT,
    Stage.REFIT: Part.REFIT,
    Stage.RECONSTRUCTION: Part.REFIT,
    Stage.DISTILLATION: Part.DISTILL,
    Stage.EXPORT: Part.SAVE,
    Stage.VERIFICATION: Part.SAVE,
}
# A resumed run repeats them before it goes on.
_START = (
    None,
    Stage.LOAD,
    Stage.TEXT,
    Stage.SAMPLING,
    Stage.BASELINE,
    Stage.VOCABULARY,
)
_COUNTED = (
    Stage.REFIT,
    Stage.RECONSTRUCTION,
    Stage.DISTILLATION,
    Stage.EXPORT,
)
_goal_of = latest(goal_or_none)  # of the run in progress, at each of its events


def removed_count(run: RunState) -> int:
    """Return how many parameters a run removes, or has removed, or sets to zero.

    0 if it is not known or nothing is removed.
    """
    if run.config is None or run.model is None or run.config.pruning.removes_nothing:
        return 0
    are_zeros, pruning = leaves_zeros(run.config), run.config.pruning
    if run.history and (len(run.history) >= run.shots or not run.status.is_busy):
        last = run.history[-1]
        if are_zeros:
            return round(last.sparsity * prunable_weights(pruning, run.model))
        return run.model.parameters - last.parameters
    goal = _goal_of(run.config, run.model)
    if goal is None:
        return 0
    return goal.removed if are_zeros else goal.removed + goal.of_tokens


def parts_of(run: RunState, now: float) -> tuple[PartView, ...]:
    """Return the parts of a run at a time."""
    if run.config is None:
        return ()
    seconds, removed = _seconds(run, now), removed_count(run)
    current = _current(run)
    ahead = _ahead(run, current)
    are_zeros = leaves_zeros(run.config)
    views = []
    for part in Part:
        mark = _mark(run, part, current, ahead)
        if mark is Mark.NEXT and not run.status.is_busy:
            mark = Mark.DONE  # in an earlier shot, if at all
        if mark is Mark.DONE and part not in seconds:
            continue  # it was left out, or is not part of this run
        number, count = 0, 0
        if mark is Mark.NOW or part in ahead:
            number, count = _progress(run, part)
        elif mark is Mark.DONE and part is Part.DISTILL:
            number, count = early_end(run)
        took = seconds.get(part, 0.0)
        views.append(PartView(part, mark, took, number, count, removed, are_zeros))
    return tuple(views)


def early_end(run: RunState) -> tuple[int, int]:
    """Return the step at which the user ended the training, and of how many; or 0."""
    last = run.held_out[-1] if run.held_out else None
    return (last.done, last.total) if last and last.done < last.total else (0, 0)


def _with_parts(stages: Iterable[tuple[Stage, float]]) -> Iterator[tuple[Part, float]]:
    part = Part.READ
    for stage, value in stages:
        part = _PARTS.get(stage, part)
        yield part, value


def _stages(run: RunState, now: float) -> Iterator[tuple[Stage, float]]:
    yield from ((time.stage, time.seconds) for time in run.times)
    if run.status.is_busy and run.stage is not None:
        yield run.stage, max(0.0, run.clock(now) - run.stage_began)


def _seconds(run: RunState, now: float) -> dict[Part, float]:
    totals: dict[Part, float] = {}
    for part, seconds in _with_parts(_stages(run, now)):
        totals[part] = totals.get(part, 0.0) + seconds
    if run.result is not None:  # the engine begins before its first stage
        rest = run.result.seconds - sum(totals.values())
        totals[Part.READ] = totals.get(Part.READ, 0.0) + max(0.0, rest)
    return totals


def _current(run: RunState) -> Part | None:
    """Return the part in progress, or the one in which the run has ended."""
    if run.status is Status.FINISHED:
        return None
    parts = [part for part, _ in _with_parts(_stages(run, run.stage_began))]
    is_requested = run.status.is_busy and run.stage is None  # it may also go on
    return parts[-1] if parts and not is_requested else Part.READ


def _ahead(run: RunState, current: Part | None) -> set[Part]:
    """Return the parts with a stage still to come."""
    if current is None or run.config is None:
        return set()
    steps = eta.steps_of(run.timeline)
    if run.config.pruning.removes_nothing:
        steps = tuple(step for step in steps if not step[1])
    here = (run.stage, run.shot)
    places = [number for number, step in enumerate(steps) if step == here]
    if not places:  # such as a recovery between two shots
        parts = list(Part)
        return set(parts[parts.index(current) + 1 :])
    found = list(_with_parts((stage, 0.0) for stage, _ in steps))
    return {part for part, _ in found[places[-1] + 1 :]}


def _mark(run: RunState, part: Part, current: Part | None, ahead: set[Part]) -> Mark:
    if part is current:
        has_failed = run.status is Status.FAILED
        ended = Mark.FAILED if has_failed else Mark.BROKEN_OFF
        return Mark.NOW if run.status.is_busy else ended
    parts = list(Part)
    reached = _reached(run, current)
    if reached is not None and parts.index(part) < parts.index(reached):
        return Mark.DONE  # in this shot; a later one comes to it again
    return Mark.NEXT if part in ahead else Mark.DONE


def _reached(run: RunState, current: Part | None) -> Part | None:
    """Return the part in progress, or the one in which a resumed run will go on."""
    found = _with_parts((x.stage, float(x.stage in _START)) for x in run.times)
    later = [part for part, is_start in found if not is_start]
    is_starting = run.status.is_busy and run.stage in _START
    return later[-1] if later and is_starting else current


def _progress(run: RunState, part: Part) -> tuple[int, int]:
    """Return the shot, the block or the step in progress, and how many there are."""
    shots = max(run.shots, run.shot)
    if part is Part.MEASURE and run.shot and shots > 1:
        return run.shot, shots
    if run.stage in _COUNTED and _PARTS[run.stage] is part and run.total > 1:
        if part is Part.DISTILL and run.held_out:
            return _training_step(run)
        return min(run.done + 1, run.total), run.total
    return 0, 0


def _training_step(run: RunState) -> tuple[int, int]:
    """Return the training step in progress, and how many there are.

    The stage counts the first reading of the text, too, or only the time if that is
    limited.
    """
    config, count = run.settled_config, run.held_out[-1].total
    is_timed = config is not None and config.recovery.minutes > 0
    reading = 0 if is_timed else max(0, run.total - run.held_out[0].total)
    done = max(0, run.done - reading) * count // max(1, run.total - reading)
    return min(max(done, run.held_out[-1].done) + 1, count), count
