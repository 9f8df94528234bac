"""The remaining time is unknown at first, and then follows what was measured."""

from __future__ import annotations

import pytest

from surgeon_engine.events import Stage
from surgeon_gui.eta import (
    Position,
    StageTime,
    progress,
    remaining_seconds,
    steps_of,
)

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


def test_a_run_has_all_its_steps():
    steps = steps_of(2)
    assert len(steps) == 3 + 2 * 4 + 2
    assert steps[0] == (Stage.LOAD, 0)
    assert steps[-1] == (Stage.VERIFICATION, 0)


def test_nothing_is_known_before_curvature_was_measured():
    assert remaining_seconds(3, (), Position(Stage.LOAD, 0, 0.5, 1.0)) is None
    start = Position(Stage.CURVATURE, 1, 0.05, 1.0)
    assert remaining_seconds(3, FIRST_SHOT[:3], start) is None


def test_a_tenth_of_curvature_is_enough_to_judge_by():
    at = Position(Stage.CURVATURE, 1, 0.1, 2.0)
    assert remaining_seconds(3, FIRST_SHOT[:3], at) > 18.0


def test_the_first_shot_teaches_the_others():
    at = Position(Stage.CURVATURE, 2, 0.0, 0.0)
    two_shots = remaining_seconds(3, FIRST_SHOT, at)
    one_shot = remaining_seconds(2, FIRST_SHOT, at)
    assert two_shots - one_shot == pytest.approx(A_SHOT)


def test_the_baseline_teaches_the_evaluations():
    quick, slow = (
        remaining_seconds(
            1,
            (*FIRST_SHOT[:2], StageTime(Stage.BASELINE, 0, seconds), FIRST_SHOT[3]),
            Position(Stage.SELECTION, 1, 0.0, 0.0),
        )
        for seconds in (3.0, 8.0)
    )
    assert slow - quick == pytest.approx(5.0)


def test_the_pace_of_the_stage_under_way_counts():
    at = Position(Stage.CURVATURE, 2, 0.5, 20.0)
    slower = remaining_seconds(2, FIRST_SHOT, at)
    assert slower > 20.0


def test_a_stage_that_overruns_adds_nothing():
    on_time = Position(Stage.UPDATE, 2, 0.0, 4.0)
    late = Position(Stage.UPDATE, 2, 0.0, 40.0)
    assert remaining_seconds(2, FIRST_SHOT, late) == pytest.approx(
        remaining_seconds(2, FIRST_SHOT, on_time)
    )


def test_progress_is_a_share_of_the_expected_time():
    at_start = Position(Stage.LOAD, 0, 0.0, 0.0)
    assert progress(3, (), at_start) == 0.0
    at_end = Position(Stage.VERIFICATION, 0, 1.0, 1.0)
    assert progress(3, FIRST_SHOT, at_end) == pytest.approx(1.0)


def test_progress_grows_within_a_run():
    places = [
        Position(stage, shot, fraction, fraction * 10)
        for stage, shot in steps_of(2)
        for fraction in (0.0, 1.0)
    ]
    shares = [progress(2, FIRST_SHOT, place) for place in places]
    assert all(0.0 <= share <= 1.0 for share in shares)
