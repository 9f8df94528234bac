"""The remaining time of a run."""

from dataclasses import replace

import pytest

from surgeon_engine.api.config.pruning import Damping, Method
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_engine.api.messages.run import SHOT_STAGES, Stage
from surgeon_gui.state.eta import (
    Position,
    RunTimeline,
    StageTime,
    followed,
    is_late,
    progress,
    readable,
    remaining_seconds,
    steps_of,
    timeline_of,
)
from tests.helpers.configs import pruning_config, surgeon_job

STAGES = timeline_of(
    surgeon_job(pruning=pruning_config(damping=Damping.FIXED)), shots=1
).stages

FIRST_SHOT = (
    StageTime(Stage.LOAD, 0, 2.0),
    StageTime(Stage.TEXT, 0, 1.0),
    StageTime(Stage.BASELINE, 0, 3.0),
    StageTime(Stage.CURVATURE, 1, 10.0),
    StageTime(Stage.SELECTION, 1, 1.0),
    StageTime(Stage.UPDATE, 1, 4.0),
    StageTime(Stage.EVALUATION, 1, 3.0),
)
A_SHOT = 10.0 + 1.0 + 4.0 + 3.0


def test_steps_of_a_run_cover_all_stages_and_shots():
    steps = steps_of(RunTimeline(2, STAGES))
    assert len(steps) == 3 + 2 * 4 + 2
    assert steps[0] == (Stage.LOAD, 0)
    assert steps[-1] == (Stage.VERIFICATION, 0)


def test_remaining_time_before_curvature_is_unknown():
    assert (
        remaining_seconds(RunTimeline(3, STAGES), (), Position(Stage.LOAD, 0, 0.5, 1.0))
        is None
    )
    start = Position(Stage.CURVATURE, 1, 0.05, 1.0)
    assert remaining_seconds(RunTimeline(3, STAGES), FIRST_SHOT[:3], start) is None


def test_remaining_time_is_known_after_a_tenth_of_curvature():
    at = Position(Stage.CURVATURE, 1, 0.1, 2.0)
    assert remaining_seconds(RunTimeline(3, STAGES), FIRST_SHOT[:3], at) > 18.0


def test_resumed_run_does_not_make_its_shots_again():
    at, timelines = (
        Position(Stage.LOAD, 0, 0.0, 0.0),
        (RunTimeline(3, STAGES, done=done) for done in (0, 1)),
    )
    (new, none), (resumed, some) = (
        (remaining_seconds(each, FIRST_SHOT, at), progress(each, FIRST_SHOT, at))
        for each in timelines
    )
    assert new - resumed == pytest.approx(A_SHOT)
    assert some - none == pytest.approx(A_SHOT / new)


@pytest.mark.parametrize("planned", [{}, dict.fromkeys(Stage, 10.0)])
def test_measurement_left_by_an_earlier_run_does_not_predict_later_ones(planned):
    timeline = RunTimeline(3, STAGES, planned=planned)
    quick = {Stage.BASELINE, Stage.CURVATURE}
    times = tuple(
        replace(x, seconds=1.0, is_kept=True) if x.stage in quick else x
        for x in FIRST_SHOT
    )
    over = Position(Stage.CURVATURE, 1, 1.0, 1.0, is_kept=True)
    assert progress(timeline, times[:3], over) < 0.5
    at = Position(Stage.CURVATURE, 2, 0.0, 0.0)
    left = remaining_seconds(timeline, times, at)
    assert left is None if not planned else left > 3 * A_SHOT / 2


def test_evaluations_take_as_long_as_the_baseline():
    quick, slow = (
        remaining_seconds(
            RunTimeline(1, STAGES),
            (*FIRST_SHOT[:2], StageTime(Stage.BASELINE, 0, seconds), FIRST_SHOT[3]),
            Position(Stage.SELECTION, 1, 0.0, 0.0),
        )
        for seconds in (3.0, 8.0)
    )
    assert slow - quick == pytest.approx(5.0)


def test_stage_beyond_its_expected_time_approaches_its_end():
    left = [
        remaining_seconds(
            RunTimeline(2, STAGES), FIRST_SHOT, Position(Stage.UPDATE, 2, 0.0, seconds)
        )
        for seconds in (3.0, 4.0, 5.0, 40.0)
    ]
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == len(left)  # it never stands still


def test_progress_of_a_stage_without_steps_never_stands_still():
    times = (*FIRST_SHOT, StageTime(Stage.EXPORT, 0, 2.0))
    shares = [
        progress(RunTimeline(1, STAGES), times, Position(Stage.VERIFICATION, 0, 0.0, s))
        for s in (0.0, 1.0, 2.0, 3.0, 10.0, 100.0)
    ]
    assert shares == sorted(shares)
    assert len(set(shares)) == len(shares)
    assert shares[-1] < 1
    done = Position(Stage.VERIFICATION, 0, 1.0, 3.0)
    assert progress(RunTimeline(1, STAGES), times, done) == 1


def test_remaining_time_falls_between_two_steps_of_a_stage():
    # The second of four steps was done after 10 s; the next one is due after 15 s.
    left = [
        remaining_seconds(
            RunTimeline(1, STAGES),
            FIRST_SHOT[:3],
            Position(Stage.CURVATURE, 1, 0.5, seconds, reached=10.0, step=0.25),
        )
        for seconds in (10.0, 11.0, 12.0, 18.0, 30.0)
    ]
    assert left[0] - left[1] == pytest.approx(1.0)
    assert left[1] - left[2] == pytest.approx(1.0)
    assert left[2] > left[3] > left[4]  # overdue: ever more slowly
    assert left[3] - left[4] < 1.0


JOB = surgeon_job(pruning=pruning_config(damping=Damping.FIXED, shots=2))
PLAN = {
    Stage.LOAD: 4.0,
    Stage.TEXT: 1.0,
    Stage.BASELINE: 5.0,
    Stage.CURVATURE: 60.0,
    Stage.SELECTION: 2.0,
    Stage.UPDATE: 8.0,
    Stage.EVALUATION: 10.0,
    Stage.EXPORT: 4.0,
    Stage.VERIFICATION: 6.0,
    Stage.GENERATION: 1000.0,  # not part of a run
}
PLANNED = timeline_of(JOB, 2, PLAN)


def test_remaining_time_begins_with_that_of_the_plan():
    at = Position(Stage.LOAD, 0, 0.0, 0.0)
    assert remaining_seconds(PLANNED, (), at) == pytest.approx(100.0)
    at = Position(Stage.LOAD, 0, 0.0, 3.0)
    assert remaining_seconds(PLANNED, (), at) == pytest.approx(97.0)


def test_remaining_time_follows_the_measured_pace():
    times = (
        StageTime(Stage.LOAD, 0, 8.0),
        StageTime(Stage.TEXT, 0, 2.0),
        StageTime(Stage.BASELINE, 0, 10.0),
    )
    at = Position(Stage.CURVATURE, 1, 0.0, 0.0)
    # 20 s in place of 10: twice as slow; 8.5 s of the plan still count.
    slower = remaining_seconds(PLANNED, times, at)
    pace = 2 ** (10 / 18.5)
    assert slower == pytest.approx(pace * (90.0 - 10.0) + 2 * 10.0)  # as the baseline
    half = Position(Stage.CURVATURE, 1, 0.5, 30.0)
    assert remaining_seconds(PLANNED, times, half) > slower


def test_quick_first_stages_hardly_change_the_plan():
    times = (StageTime(Stage.LOAD, 0, 40.0),)  # ten times as long: a cold disk
    at = Position(Stage.TEXT, 0, 0.0, 0.0)
    assert remaining_seconds(PLANNED, times, at) < 4 * 96.0


def test_plan_of_fewer_shots_is_shorter():
    at = Position(Stage.LOAD, 0, 0.0, 0.0)
    fewer = remaining_seconds(timeline_of(JOB, 1, PLAN), (), at)
    assert fewer == pytest.approx(100.0 - 40.0)


def test_samples_are_steps_of_a_run():
    samples = SamplesConfig(after_shots=True)
    job = replace(JOB, samples=samples, recovery=RecoveryConfig(Recovery.REFIT))
    steps = steps_of(timeline_of(job, 2))
    assert (Stage.SAMPLING, 0) in steps  # the original's own text
    assert [step for step in steps if step[0] is Stage.GENERATION] == [
        (Stage.GENERATION, shot) for shot in (1, 2, 0)
    ]


def test_sample_of_a_shot_does_not_count_for_the_next():
    job = replace(JOB, samples=SamplesConfig(after_shots=True))
    timeline = timeline_of(job, 2, {**PLAN, Stage.GENERATION: 4.0})
    times = (*FIRST_SHOT, StageTime(Stage.GENERATION, 1, 2.0))
    at = Position(Stage.CURVATURE, 2, 0.0, 0.0)
    left = remaining_seconds(timeline, times, at)
    # a shot with its sample, then the planned export and verification
    assert left > A_SHOT + 2.0 + 4.0
    assert progress(timeline, times, at) < 0.8


@pytest.mark.parametrize(
    ("elapsed", "remaining", "late"),
    [(0.0, 100.0, False), (50.0, 80.0, False), (50.0, 100.0, True), (140.0, 1.0, True)],
)
def test_run_is_late_beyond_a_quarter_of_the_plan(elapsed, remaining, late):
    assert is_late(100.0, elapsed, remaining) == late
    assert not is_late(0.0, elapsed, remaining)  # it has no plan


@pytest.mark.parametrize(
    ("pruning", "omitted"),
    [
        (pruning_config(dropped_blocks=1), set()),
        (pruning_config(), {Stage.DEPTH}),
        (pruning_config(damping=Damping.FIXED), {Stage.DEPTH, Stage.DAMPING}),
        (pruning_config(method=Method.K_OBD), {Stage.DEPTH, Stage.DAMPING}),
    ],
)
def test_stages_of_a_shot_depend_on_the_settings(pruning, omitted):
    assert (
        set(SHOT_STAGES)
        - set(timeline_of(surgeon_job(pruning=pruning), shots=2).stages)
        == omitted
    )


def test_recovery_follows_the_last_shot_once():
    levels = (
        Recovery.OFF,
        Recovery.REFIT,
        Recovery.RECONSTRUCTION,
        Recovery.DISTILLATION,
        Recovery.BOTH,
    )
    plain, *recovered = (
        steps_of(timeline_of(surgeon_job(recovery=RecoveryConfig(level, 0)), shots=2))
        for level in levels
    )
    stages = (
        (Stage.REFIT,),
        (Stage.RECONSTRUCTION,),
        (Stage.REFIT, Stage.DISTILLATION),
        (Stage.RECONSTRUCTION, Stage.DISTILLATION),
    )
    for found, own in zip(recovered, stages, strict=True):
        more = [(stage, 0) for stage in (Stage.REFERENCE, *own, Stage.EVALUATION)]
        assert found == (*plain[:-2], *more, *plain[-2:])


SEARCHED = (
    *FIRST_SHOT[:3],
    StageTime(Stage.CURVATURE, 1, 9.0),
    StageTime(Stage.DAMPING, 1, 7.0),
)
WITH_SEARCH = timeline_of(surgeon_job(), shots=1)


def test_repeated_stage_does_not_reduce_progress():
    back = Position(Stage.CURVATURE, 1, 0.0, 0.0)
    before = Position(Stage.DAMPING, 1, 1.0, 7.0)
    at_the_end = progress(WITH_SEARCH, SEARCHED[:4], before)
    assert progress(WITH_SEARCH, SEARCHED, back) == pytest.approx(at_the_end, abs=0.1)
    assert remaining_seconds(WITH_SEARCH, SEARCHED, back) < 9.0 + 7.0


def test_times_of_a_repeated_stage_are_added_up():
    times = (*SEARCHED, StageTime(Stage.CURVATURE, 1, 3.0), *FIRST_SHOT[4:])
    at = Position(Stage.CURVATURE, 2, 0.0, 0.0)
    two, three = (
        remaining_seconds(RunTimeline(shots, WITH_SEARCH.stages), times, at)
        for shots in (2, 3)
    )
    assert three - two == pytest.approx(9.0 + 3.0 + 7.0 + 1.0 + 4.0 + 3.0)


def test_repeated_shot_is_a_separate_round():
    at = Position(Stage.CURVATURE, 1, 0.0, 0.0)
    again = remaining_seconds(RunTimeline(1, STAGES), FIRST_SHOT, at)
    assert again > A_SHOT


TRIED = (
    StageTime(Stage.REFERENCE, 1, 5.0),
    StageTime(Stage.REFIT, 1, 8.0),
)


def test_recovery_within_a_shot_is_not_part_of_it():
    job = surgeon_job(
        pruning=pruning_config(damping=Damping.FIXED),
        recovery=RecoveryConfig(Recovery.REFIT, general_windows=0),
    )
    timeline = timeline_of(job, shots=2)
    start = Position(Stage.CURVATURE, 2, 0.0, 0.0)
    untried = remaining_seconds(timeline, FIRST_SHOT, start)
    current = Position(Stage.REFIT, 1, 0.5, 4.0)
    times = (*FIRST_SHOT, *TRIED)
    within = remaining_seconds(timeline, times[:-1], current)
    # The final recovery is expected to take as long as this one.
    more = 5.0 + 8.0 - (0.3 + 1.0) * 10.0
    assert within == pytest.approx(untried + more + 4.0)
    after = (*times, StageTime(Stage.EVALUATION, 1, 3.0))
    assert remaining_seconds(timeline, after, start) == pytest.approx(untried + more)
    assert progress(timeline, times[:-1], current) == pytest.approx(
        progress(timeline, after, start), abs=0.01
    )


def test_shown_time_falls_with_the_clock_while_the_expected_one_swings():
    countdown, figures = None, []
    for second in range(60):
        swing = (0.7, 1.0, 1.3, 1.0)[(second + 1) % 4]
        countdown = followed(countdown, swing * (200 - second), float(second))
        figures.append(countdown.shown)
    assert figures == sorted(figures, reverse=True)
    assert 125 <= figures[-1] <= 155


def test_shown_time_follows_what_stays_longer():
    countdown = None
    for second in range(60):
        countdown = followed(countdown, 60.0 if second < 5 else 600.0, float(second))
    assert 540 <= countdown.shown <= 600


def test_shown_time_stands_still_with_the_clock_of_the_run():
    countdown = followed(followed(None, 90.0, 10.0), 90.0, 10.0)
    assert countdown.seconds == 90.0
    assert not countdown.is_due(10.0)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(7.4, 7), (43, 45), (130, 135), (700, 690), (2000, 1980), (5000, 5100)],
)
def test_shown_time_has_steps_that_grow_with_it(seconds, shown):
    assert readable(seconds) == shown
