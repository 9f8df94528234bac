"""How far a run is and how long it will go on, from what its stages have taken so far.

A run passes through a fixed list of steps: load, text, baseline, the stages of each
shot, export, verification. Each step is expected to take

    as long as the same stage took before in this run, its latest time; else
    as long as its measured relative: an evaluation like the baseline's; else
    its share of a run times (seconds / share) of what has been measured.

The shares are rough and only matter until shot 1 has been through. Progress is the
expected time of what is done over the expected time of all. The remaining time is
unknown until curvature, by far the longest stage, has been measured at least in part.

A shot may come back to a stage, as to curvature after the damping was chosen: its
times are added up, and the run stands where it was before. An evaluation ends a round;
where it was above the quality limit, the next round may be a correction that is tried
at once, or the same shot once more. A correction's curvature is no measure of a shot's.
"""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.run import SHOT_STAGES, Stage

ENOUGH_TO_EXTRAPOLATE = 0.1  # of a stage, before its pace is believed

# Relative to the curvature stage, which is 1: where nothing has been measured yet.
_SHARES = {
    Stage.LOAD: 0.2,
    Stage.TEXT: 0.1,
    Stage.BASELINE: 0.25,
    Stage.CURVATURE: 1.0,
    Stage.DAMPING: 0.7,
    Stage.SELECTION: 0.1,
    Stage.UPDATE: 0.3,
    Stage.CORRECTION: 0.7,
    Stage.EVALUATION: 0.25,
    Stage.EXPORT: 0.2,
    Stage.VERIFICATION: 0.3,
}
_RELATIVES = {Stage.EVALUATION: Stage.BASELINE}


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one stage took; `shot` is 0 outside the shots."""

    stage: Stage
    shot: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands."""

    stage: Stage
    shot: int
    fraction: float  # of the stage
    seconds: float  # since the stage began


@dataclass(frozen=True, slots=True)
class RunTimeline:
    """How many shots there will be, as far as is known, and the stages of each."""

    shots: int
    stages: tuple[Stage, ...] = SHOT_STAGES
    is_corrected: bool = False


def course_of(pruning: PruningConfig, shots: int) -> RunTimeline:
    """What a run of that many shots passes through."""
    stages: tuple[Stage, ...] = SHOT_STAGES
    if not pruning.searches_damping:
        stages = tuple(stage for stage in stages if stage is not Stage.DAMPING)
    return RunTimeline(shots, stages, pruning.is_corrected)


def steps_of(course: RunTimeline) -> tuple[tuple[Stage, int], ...]:
    """All stages of a run, in order, each with its shot."""
    shots = range(1, course.shots + 1)
    before = [(stage, 0) for stage in (Stage.LOAD, Stage.TEXT, Stage.BASELINE)]
    between = [(stage, shot) for shot in shots for stage in course.stages]
    correction = (Stage.CURVATURE, Stage.CORRECTION, Stage.EVALUATION)
    end = (Stage.EXPORT, Stage.VERIFICATION)
    after = [(s, 0) for s in (*(correction if course.is_corrected else ()), *end)]
    return (*before, *between, *after)


def progress(course: RunTimeline, times: tuple[StageTime, ...], at: Position) -> float:
    """How much of the run is done, from 0 to 1."""
    expected = _expected_seconds(times, at)
    index = _index(course, times, at)
    steps = steps_of(course)
    seconds = [expected[stage] for stage, _ in steps]
    has_come_back = steps[index][0] is not at.stage
    fraction = 1.0 if has_come_back else at.fraction
    done = sum(seconds[:index]) + fraction * seconds[index]
    return min(1.0, done / sum(seconds))


def remaining_seconds(
    course: RunTimeline, times: tuple[StageTime, ...], at: Position
) -> float | None:
    """The time the run will still take; None while there is nothing to judge by."""
    if Stage.CURVATURE not in _measured(times, at):
        return None
    expected = _expected_seconds(times, at)
    steps = steps_of(course)
    index = _index(course, times, at)
    spent = _this_round(times).get(at.stage, 0.0) + at.seconds
    # A stage that takes longer than it ever did is about to end, as far as one knows.
    here = max(0.0, expected[at.stage] - spent)
    return here + sum(expected[stage] for stage, _ in steps[index + 1 :])


def _rounds(times: tuple[StageTime, ...]) -> list[dict[Stage, float]]:
    """The seconds of each stage, for each round; the last one is not over yet."""
    rounds: list[dict[Stage, float]] = [{}]
    for time in times:
        this = rounds[-1]
        this[time.stage] = this.get(time.stage, 0.0) + time.seconds
        if time.stage is Stage.EVALUATION:
            rounds.append({})
    return rounds


def _this_round(times: tuple[StageTime, ...]) -> dict[Stage, float]:
    return _rounds(times)[-1]


def _measured(times: tuple[StageTime, ...], at: Position) -> dict[Stage, float]:
    """The latest seconds of each stage, the one under way by its pace."""
    rounds = _rounds(times)
    measured = {
        stage: taken
        for each in rounds
        for stage, taken in each.items()
        if not (stage is Stage.CURVATURE and Stage.CORRECTION in each)
    }
    if at.fraction >= ENOUGH_TO_EXTRAPOLATE:
        before = rounds[-1].get(at.stage, 0.0)
        measured[at.stage] = before + at.seconds / at.fraction
    return measured


def _expected_seconds(times: tuple[StageTime, ...], at: Position) -> dict[Stage, float]:
    measured = _measured(times, at)
    share = sum(_SHARES[stage] for stage in measured)
    scale = sum(measured.values()) / share if share else 1.0
    if Stage.CURVATURE in measured:
        scale = measured[Stage.CURVATURE] / _SHARES[Stage.CURVATURE]

    def expected(stage: Stage) -> float:
        relative = _RELATIVES.get(stage, stage)
        guess = measured.get(relative, _SHARES[stage] * scale)
        return max(measured.get(stage, guess), 1e-6)

    return {stage: expected(stage) for stage in _SHARES}


def _index(course: RunTimeline, times: tuple[StageTime, ...], at: Position) -> int:
    """Which step the run has come to; one that comes back is where it was."""
    steps = steps_of(course)
    reached = [at.stage, *(_this_round(times) if at.shot else ())]
    if at.shot and Stage.CORRECTION in reached:  # it is tried: the shot is done
        reached = list(course.stages)
    places = [(stage, at.shot) for stage in reached]
    return max((steps.index(place) for place in places if place in steps), default=0)
