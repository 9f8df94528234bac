"""How far a run is and how long it will go on, from what its stages have taken so far.

A run passes through a fixed list of steps: load, text, baseline, four stages a shot,
export, verification. Each step is expected to take

    as long as the same stage took before in this run, its latest time; else
    as long as its measured relative: an evaluation like the baseline's; else
    its share of a run times (seconds / share) of what has been measured.

The shares are rough and only matter until shot 1 has been through. Progress is the
expected time of what is done over the expected time of all. The remaining time is
unknown until curvature, by far the longest stage, has been measured at least in part.
"""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.events import SHOT_STAGES, Stage

ENOUGH_TO_EXTRAPOLATE = 0.1  # of a stage, before its pace is believed

# Relative to the curvature stage, which is 1: where nothing has been measured yet.
_SHARES = {
    Stage.LOAD: 0.2,
    Stage.TEXT: 0.1,
    Stage.BASELINE: 0.25,
    Stage.CURVATURE: 1.0,
    Stage.SELECTION: 0.1,
    Stage.UPDATE: 0.3,
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


def steps_of(shots: int) -> tuple[tuple[Stage, int], ...]:
    """All stages of a run with that many shots, in order, each with its shot."""
    before = [(stage, 0) for stage in (Stage.LOAD, Stage.TEXT, Stage.BASELINE)]
    between = [(stage, shot) for shot in range(1, shots + 1) for stage in SHOT_STAGES]
    after = [(stage, 0) for stage in (Stage.EXPORT, Stage.VERIFICATION)]
    return (*before, *between, *after)


def progress(shots: int, times: tuple[StageTime, ...], at: Position) -> float:
    """How much of the run is done, from 0 to 1."""
    expected = _expected_seconds(times, at)
    index = _index(shots, at)
    seconds = [expected[stage] for stage, _ in steps_of(shots)]
    done = sum(seconds[:index]) + at.fraction * seconds[index]
    return min(1.0, done / sum(seconds))


def remaining_seconds(
    shots: int, times: tuple[StageTime, ...], at: Position
) -> float | None:
    """The time the run will still take; None while there is nothing to judge by."""
    if Stage.CURVATURE not in _measured(times, at):
        return None
    expected = _expected_seconds(times, at)
    steps = steps_of(shots)
    index = _index(shots, at)
    # A stage that takes longer than it ever did is about to end, as far as one knows.
    here = max(0.0, expected[at.stage] - at.seconds)
    return here + sum(expected[stage] for stage, _ in steps[index + 1 :])


def _measured(times: tuple[StageTime, ...], at: Position) -> dict[Stage, float]:
    """The latest seconds of each stage, the one under way by its pace."""
    measured = {time.stage: time.seconds for time in times}
    if at.fraction >= ENOUGH_TO_EXTRAPOLATE:
        measured[at.stage] = at.seconds / at.fraction
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

    return {stage: expected(stage) for stage in Stage}


def _index(shots: int, at: Position) -> int:
    steps = steps_of(shots)
    place = (at.stage, at.shot)
    return steps.index(place) if place in steps else 0
