"""Progress and remaining time of a run, from the plan and the measured stages.

A run has a fixed list of steps: load, text, baseline, the stages of each shot, export,
verification. The expected time of a step is

    the latest time of the same stage in this run; else
    the measured time of a similar stage: the baseline's for an evaluation; else
    its planned time by the pace of the run: measured over planned time so far.

A run that was not planned here, such as one of another program, has default shares in
place of planned times. Its remaining time is unknown until curvature, by far the
longest stage, has been measured at least in part.

Progress is the share of the expected time that the finished steps take. A stage that
counts its steps is extrapolated from the time of the last one: between two steps, the
remaining time falls with the clock. A stage that does not count them approaches its end
ever more slowly once its expected time is nearly over.

A resumed run loads and measures the original again, after the shots that are done.

Before a file for other programs, a run quickly saves a checkpoint. That takes the time
of the export, and tells nothing about it: it counts as kept.

A shot may return to a stage, such as curvature after the damping search: the times are
added up, and the progress does not decrease. An evaluation ends a round. If it exceeded
the quality limit, the next round may be recovery, or the same shot again.

The time that is shown follows the expected one slowly (`Countdown`): on a busy computer
each step takes another time, and a figure that jumps up and down cannot be read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from surgeon_engine.api.config.export import FOR_TRANSFORMERS
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import SHOT_STAGES, Exported, Stage
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.file_form import file_form
from surgeon_gui.base.latest import latest

ENOUGH_TO_EXTRAPOLATE = 0.1  # minimum fraction of a stage
_TRUSTED_FRACTION = 0.5  # from this fraction of a stage on, its pace alone counts
_TAIL = 0.2  # last share of a stage's expected time, which may take longer
# The share of a run after which its measured pace counts as much as the planned one.
_TRUSTED = 0.085
_STEP_TAIL = 0.5  # the same for a step
_LATE, _LATE_SECONDS = 1.25, 15.0  # beyond the planned time of the whole run

# Seconds in which a countdown follows the expected time: as a share of the seconds
# left, at least and at most. `_MOMENT`: seconds between two of its figures.
_FOLLOWS, _LEAST, _MOST = 0.07, 3.0, 20.0
_MOMENT = 0.4
# Steps of the figure that is shown, in seconds, up to so many seconds.
_READABLE = ((10, 1), (60, 5), (300, 15), (900, 30), (3600, 60), (10_800, 300))
_LONGEST_STEP = 900
_STAYS = 0.75  # share of a step by which the figure may be off before it changes

# Default times relative to the curvature stage.
_SHARES = {
    Stage.LOAD: 0.2,
    Stage.TEXT: 0.1,
    Stage.BASELINE: 0.25,
    Stage.VOCABULARY: 0.3,
    Stage.DEPTH: 0.5,
    Stage.CURVATURE: 1.0,
    Stage.DAMPING: 0.7,
    Stage.SELECTION: 0.1,
    Stage.UPDATE: 0.3,
    Stage.SAMPLING: 1.0,
    Stage.REFERENCE: 0.3,
    Stage.REFIT: 1.0,
    Stage.RECONSTRUCTION: 6.0,
    Stage.DISTILLATION: 3.0,
    Stage.EVALUATION: 0.25,
    Stage.GENERATION: 0.05,
    Stage.EXPORT: 0.2,
    Stage.VERIFICATION: 0.3,
}
# Stages that end with their next step once a run is to be finished.
ENDED_EARLY = (Stage.REFIT, Stage.RECONSTRUCTION, Stage.DISTILLATION)
_WITHOUT_STEPS = (Stage.LOAD, Stage.TEXT, Stage.VERIFICATION)
_SAVING = (Stage.EXPORT, Stage.VERIFICATION)
_SIMILAR = {Stage.EVALUATION: Stage.BASELINE}


@dataclass(frozen=True, slots=True)
class StageTime:
    """The duration of a stage; `shot` is 0 outside of the shots."""

    stage: Stage
    shot: int
    seconds: float
    is_kept: bool = False  # an earlier run has left its result


@dataclass(frozen=True, slots=True)
class Position:
    """The current position of a run."""

    stage: Stage
    shot: int
    fraction: float  # share of the stage that is done
    seconds: float  # since the stage began
    reached: float | None = None  # seconds at which the fraction was; None: just now
    step: float = 0.0  # fraction of the stage that is one step; 0: unknown
    is_kept: bool = False  # an earlier run has left its result

    @property
    def extrapolated(self) -> float:
        """The seconds of the whole stage, by its last step."""
        reached = self.seconds if self.reached is None else self.reached
        return reached / self.fraction

    @property
    def due(self) -> float:
        """The seconds until the next step; negative if it is overdue."""
        if self.reached is None:
            return 0.0
        return self.reached + self.step * self.extrapolated - self.seconds


@dataclass(frozen=True, slots=True)
class RunTimeline:
    """The expected number of shots and the stages of each."""

    shots: int
    stages: tuple[Stage, ...] = SHOT_STAGES
    recovery: tuple[Stage, ...] = ()
    samples: bool = False  # the original writes text first
    tokens: bool = False  # some leave the vocabulary before the shots
    planned: Mapping[Stage, float] = field(default_factory=dict)  # seconds of a step
    done: int = 0  # shots that its earlier processes have made


def until(times: tuple[StageTime, ...], seconds: float) -> tuple[StageTime, ...]:
    """Return the durations of the stages until a time on the clock of the run."""
    kept, left = [], seconds
    for each in times:
        if left > 0:
            kept.append(replace(each, seconds=min(each.seconds, left)))
        left -= each.seconds
    return tuple(kept)


def timeline_of(
    config: RunConfig,
    shots: int,
    planned: Mapping[Stage, float] | None = None,
    done: int = 0,
) -> RunTimeline:
    """Return the timeline of a run.

    Args:
        config: the job.
        shots: how many there will be.
        planned: the seconds of each stage over all shots of the job.
        done: how many were made before the run was resumed.
    """
    pruning = config.pruning
    stages: tuple[Stage, ...] = SHOT_STAGES
    if not pruning.searches_damping:
        stages = tuple(stage for stage in stages if stage is not Stage.DAMPING)
    if not pruning.drops_depth:
        stages = tuple(stage for stage in stages if stage is not Stage.DEPTH)
    recovery: tuple[Stage, ...] = ()
    if config.recovery.recovers:
        is_reconstruction = config.recovery.reconstructs
        blocks = Stage.RECONSTRUCTION if is_reconstruction else Stage.REFIT
        training = (Stage.DISTILLATION,) if config.recovery.training_epochs else ()
        recovery = (Stage.REFERENCE, blocks, *training, Stage.EVALUATION)
    samples = config.own_windows > 0 or config.samples.after_shots
    if config.samples.after_shots:
        stages = (*stages, Stage.GENERATION)
        recovery = (*recovery, Stage.GENERATION) if recovery else ()
    tokens = pruning.removes_tokens
    whole = RunTimeline(pruning.shots, stages, recovery, samples, tokens)
    counts = Counter(stage for stage, _ in steps_of(whole))
    each = {
        stage: seconds / counts[stage]
        for stage, seconds in (planned or {}).items()
        if stage in counts
    }
    return replace(whole, shots=shots, planned=each, done=done)


def is_checkpoint(
    stage: Stage,
    config: RunConfig | None,
    model: ModelSummary | None,
    exported: Exported | None,
) -> bool:
    """Return whether a stage saves the checkpoint before the file of a run."""
    if stage not in _SAVING or exported is not None:
        return False
    if config is None or model is None or config.writes_original:
        return False
    return file_form(config, model).format not in FOR_TRANSFORMERS


def ended_early(
    timeline: RunTimeline, shots: int, current: Stage | None
) -> RunTimeline:
    """Return the timeline of a run that is finished after so many shots.

    Recovery does nothing more, but for the stage that it is in.
    """
    left = [x for x in timeline.recovery if x is current or x not in ENDED_EARLY]
    return replace(timeline, shots=shots, recovery=tuple(left))


@latest
def steps_of(timeline: RunTimeline) -> tuple[tuple[Stage, int], ...]:
    """Return all stages of a run in order, each with its shot."""
    shots = range(1, timeline.shots + 1)
    sampling = (Stage.SAMPLING,) if timeline.samples else ()
    tokens = (Stage.VOCABULARY,) if timeline.tokens else ()
    start = (Stage.LOAD, Stage.TEXT, *sampling, Stage.BASELINE, *tokens)
    before = [(stage, 0) for stage in start]
    between = [(stage, shot) for shot in shots for stage in timeline.stages]
    done = timeline.done * len(timeline.stages)
    after = [(stage, 0) for stage in (*timeline.recovery, *_SAVING)]
    return (*between[:done], *before, *between[done:], *after)


def progress(
    timeline: RunTimeline, times: tuple[StageTime, ...], at: Position
) -> float:
    """Return the progress of the run, from 0 to 1."""
    at = _before_export(at)
    rounds = _rounds(times)
    expected = _expected_seconds(timeline, rounds, at)
    steps = steps_of(timeline)
    index = _index(timeline, steps, rounds[-1], at)
    seconds = [expected[stage] for stage, _ in steps]
    is_repeated = steps[index][0] is not at.stage
    fraction = 1.0 if is_repeated else _reached(at, expected[at.stage])
    done = sum(seconds[:index]) + fraction * seconds[index]
    return min(1.0, done / sum(seconds))


def _before_export(at: Position) -> Position:
    """Return a position; the beginning of the export while a checkpoint is saved."""
    if not at.is_kept or at.stage not in _SAVING:
        return at
    return replace(at, stage=Stage.EXPORT, fraction=0.0)


def _reached(at: Position, expected: float) -> float:
    """Return the fraction of a stage that is done, from its time if it has no steps."""
    if at.stage not in _WITHOUT_STEPS or at.fraction == 1:
        return at.fraction
    return 1 - _with_tail(expected - at.seconds, _TAIL * expected) / expected


def remaining_seconds(
    timeline: RunTimeline, times: tuple[StageTime, ...], at: Position
) -> float | None:
    """Return the remaining seconds.

    Returns:
        None for a run that was not planned, until curvature has been measured.
    """
    at = _before_export(at)
    rounds = _rounds(times)
    measured = _measured(rounds, at)
    if not timeline.planned and Stage.CURVATURE not in measured:
        return None
    expected = _expected_seconds(timeline, rounds, at)
    steps = steps_of(timeline)
    index = _index(timeline, steps, rounds[-1], at)
    elapsed = rounds[-1].get(at.stage, 0.0) + at.seconds
    left = expected[at.stage] - elapsed
    if not ENOUGH_TO_EXTRAPOLATE <= at.fraction < 1:  # its steps are not known, or over
        left = _with_tail(left, _TAIL * expected[at.stage])
    elif at.step and at.reached is not None:
        tail = _STEP_TAIL * at.step * at.extrapolated
        left += _with_tail(at.due, tail) - at.due
    return max(0.0, left) + sum(expected[stage] for stage, _ in steps[index + 1 :])


def _with_tail(left: float, tail: float) -> float:
    """Return the remaining seconds of what may take longer than expected.

    They fall with the clock down to `tail`, then as its square over the time since.
    """
    return left if left >= tail else tail**2 / (2 * tail - left)


@dataclass(frozen=True, slots=True)
class Countdown:
    """The remaining time as it is shown."""

    seconds: float  # at the time `at`, smoothed
    at: float  # on the clock of the run
    shown: float  # in steps that are easy to read

    def is_due(self, at: float) -> bool:
        """Return whether so much time has passed that it may change."""
        return at - self.at >= _MOMENT


def followed(before: Countdown | None, expected: float, at: float) -> Countdown:
    """Return the countdown at a time, at which so many seconds are expected.

    It falls with the clock, and approaches the expected time exponentially.
    """
    if before is None:
        return Countdown(expected, at, readable(expected))
    passed = max(0.0, at - before.at)
    left = max(0.0, before.seconds - passed)
    slowness = min(max(_FOLLOWS * left, _LEAST), _MOST)
    left += (1 - math.exp(-passed / slowness)) * (expected - left)
    is_near = abs(left - before.shown) < _STAYS * _step_of(left)
    return Countdown(left, at, before.shown if is_near else readable(left))


def readable(seconds: float) -> float:
    """Round a remaining time to a step that grows with it."""
    step = _step_of(seconds)
    return step * round(seconds / step)


def _step_of(seconds: float) -> int:
    steps = (step for limit, step in _READABLE if seconds < limit)
    return next(steps, _LONGEST_STEP)


def is_late(planned: float, elapsed: float, remaining: float) -> bool:
    """Return whether a run takes clearly longer than planned, all in seconds."""
    expected = elapsed + remaining
    return bool(planned) and expected > _LATE * planned + _LATE_SECONDS


_Round = dict[Stage, float]  # seconds of each stage


def _rounds(times: tuple[StageTime, ...]) -> list[_Round]:
    """Return the seconds of each stage for each round; the last round is open.

    A round ends with an evaluation, or when the run is resumed. Reading what an earlier
    run has left counts as no time.
    """
    rounds: list[_Round] = [{}]
    for time in times:
        if time.stage is Stage.LOAD:
            rounds.append({})
        current = rounds[-1]
        seconds = 0.0 if time.is_kept else time.seconds
        current[time.stage] = current.get(time.stage, 0.0) + seconds
        if time.stage is Stage.EVALUATION:
            rounds.append({})
    return rounds


def _measured(rounds: list[_Round], at: Position) -> dict[Stage, float]:
    """Return the latest seconds of each stage, extrapolated for the current one.

    A stage that took no time tells nothing.
    """
    whole = [time for round_ in rounds for time in round_.items()]
    current: dict[Stage, float] = {}
    if at.fraction >= ENOUGH_TO_EXTRAPOLATE and not at.is_kept:
        current[at.stage] = rounds[-1].get(at.stage, 0.0) + at.extrapolated
    if at.fraction == 1:
        whole, current = [*whole, *current.items()], {}
    return {x: y for x, y in whole if y} | current


def _expected_seconds(
    timeline: RunTimeline, rounds: list[_Round], at: Position
) -> dict[Stage, float]:
    """Return the expected seconds of each stage.

    The first steps of a planned stage may be slow: what they show is blended with what
    was expected before, more and more as the stage advances.
    """
    measured = _measured(rounds, at)
    expected = _expected_by(timeline, measured)
    if timeline.planned and at.stage in measured:
        before = _measured(rounds, replace(at, fraction=0.0))
        weight = min(1.0, at.fraction / _TRUSTED_FRACTION)
        guess = _expected_by(timeline, before)[at.stage]
        measured[at.stage] = weight * measured[at.stage] + (1 - weight) * guess
        return _expected_by(timeline, measured)
    return expected


def _expected_by(
    timeline: RunTimeline, measured: dict[Stage, float]
) -> dict[Stage, float]:
    """Return the expected seconds of each stage by those that were measured."""
    base = timeline.planned or _SHARES
    pace = _pace(timeline, measured)

    def expected(stage: Stage) -> float:
        guess = base.get(stage, 0.0) * pace
        similar = _SIMILAR.get(stage, stage)
        if similar in measured:
            ratio = 1.0
            if timeline.planned.get(similar) and stage in timeline.planned:
                ratio = timeline.planned[stage] / timeline.planned[similar]
            guess = ratio * measured[similar]
        return max(measured.get(stage, guess), 1e-6)

    return {stage: expected(stage) for stage in _SHARES}


def _pace(timeline: RunTimeline, measured: dict[Stage, float]) -> float:
    """Return measured over planned seconds; without a plan, seconds of a share.

    A plan may be wrong by a factor, in either direction. So the logarithm of the ratio
    is weighted by the planned time that has been measured.
    """
    if timeline.planned:
        whole = _planned_seconds(timeline)
        planned = sum(timeline.planned.get(stage, 0.0) for stage in measured)
        if not planned:
            return 1.0
        weight = planned / (planned + _TRUSTED * whole)
        return float((sum(measured.values()) / planned) ** weight)
    if Stage.CURVATURE in measured:
        return measured[Stage.CURVATURE] / _SHARES[Stage.CURVATURE]
    share = sum(_SHARES[stage] for stage in measured)
    return sum(measured.values()) / share if share else 1.0


@latest
def _planned_seconds(timeline: RunTimeline) -> float:
    return sum(timeline.planned.get(stage, 0.0) for stage, _ in steps_of(timeline))


def _index(
    timeline: RunTimeline,
    steps: tuple[tuple[Stage, int], ...],
    current: _Round,
    at: Position,
) -> int:
    """Return the index of the furthest step; a repeated stage does not reduce it."""
    # The sample of the previous shot comes after its round.
    done = [stage for stage in current if stage is not Stage.GENERATION]
    reached = [at.stage, *(done if at.shot else ())]
    if at.shot and Stage.REFERENCE in reached:  # recovery: the shot has ended
        reached = list(timeline.stages)
    places = [(stage, at.shot) for stage in reached]
    return max((steps.index(place) for place in places if place in steps), default=0)
