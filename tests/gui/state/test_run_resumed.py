"""A run that goes on after an interruption, live and when its events are read again."""

from __future__ import annotations

import pytest

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Cancelled, Envelope, Failed
from surgeon_engine.api.messages.run import (
    RunFinished,
    RunResumed,
    RunStarted,
    Stage,
    StageStarted,
)
from surgeon_gui.state import run as run_state
from surgeon_gui.state.run import Status
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary, shot_finished
from tests.helpers.fake_results import recovered
from tests.helpers.run_states import with_events

CONFIG = RunConfig(pruning=pruning_config(shots=3))
STARTED = RunStarted("folder", 3, model_summary(), "cpu", 100, 50)


@pytest.fixture
def broken_off():
    """Return a run that has done two shots in 40 seconds; the first one was saved."""
    state = run_state.requested("run-1", CONFIG, "folder", at=100.0)
    state = with_events(state, 100.0, StageStarted(Stage.LOAD, 0), STARTED)
    for shot in (1, 2):
        state = with_events(
            state, 100.0 + 20 * (shot - 1), StageStarted(Stage.CURVATURE, shot)
        )
        state = with_events(state, 100.0 + 20 * shot, shot_finished(shot, 3, 0.3))
    return with_events(state, 140.0, recovered(14.9))


def assert_goes_on(state):
    assert state.status is Status.RUNNING
    assert [shot.shot for shot in state.history] == [1]
    assert state.recovered is None
    assert state.seconds(1000.0) == pytest.approx(25.0)
    assert state.seconds(1010.0) == pytest.approx(35.0)
    assert state.progress == 0


def test_interrupted_run_goes_on_from_the_last_save(broken_off):
    state = run_state.interrupted(broken_off, 140.0)
    assert_goes_on(with_events(state, 1000.0, RunResumed(1, 25.0)))


def test_cancelled_run_goes_on(broken_off):
    state = with_events(broken_off, 140.0, Cancelled())
    state = with_events(state, 1000.0, RunResumed(1, 25.0))
    assert_goes_on(state)
    assert state.ended is None


def test_requested_run_waits_for_the_engine(broken_off):
    earlier = run_state.interrupted(broken_off, 140.0)
    state = run_state.resume_requested("run-9", earlier, 990.0, saved_seconds=25.0)
    assert state.status is Status.STARTING
    assert with_events(state, 1000.0, RunResumed(1, 25.0)) is state  # of another run
    state = run_state.apply(state, Envelope("run-9", 1000.0, RunResumed(1, 25.0)))
    assert_goes_on(state)


def test_clock_stands_still_until_the_state_is_loaded(broken_off):
    state = with_events(broken_off, 140.0, Cancelled())
    state = run_state.resume_requested("run-1", state, 990.0, saved_seconds=25.0)
    assert state.seconds(995.0) == 25.0
    state = with_events(state, 996.0, StageStarted(Stage.LOAD, 0))
    state = with_events(state, 998.0, StageStarted(Stage.TEXT, 0))
    assert state.seconds(999.0) == 25.0
    assert max(each.seconds for each in state.times) <= 20
    assert_goes_on(with_events(state, 1000.0, RunResumed(1, 25.0)))


def test_run_that_cannot_be_resumed_took_the_saved_time(broken_off):
    earlier = run_state.interrupted(broken_off, 140.0)
    state = run_state.resume_requested("run-1", earlier, 990.0, saved_seconds=25.0)
    state = with_events(state, 999.0, Failed("The text is another one."))
    assert state.seconds(2000.0) == 25.0


def test_early_cancel_is_not_undone(broken_off):
    earlier = run_state.interrupted(broken_off, 140.0)
    state = run_state.cancelling(
        run_state.resume_requested("run-1", earlier, 990.0, 25.0)
    )
    state = with_events(state, 1000.0, RunResumed(1, 25.0))
    assert state.status is Status.CANCELLING


def test_resumed_run_finishes(broken_off):
    state = run_state.interrupted(broken_off, 140.0)
    state = with_events(state, 1000.0, RunResumed(1, 25.0))
    for shot in (2, 3):
        state = with_events(state, 1010.0, StageStarted(Stage.CURVATURE, shot))
        assert 0 < state.progress < 1
        state = with_events(state, 1020.0, shot_finished(shot, 3, 0.3))
    state = with_events(state, 1030.0, RunFinished(False, 55.0, 1))
    assert state.status is Status.FINISHED
    assert [shot.shot for shot in state.history] == [1, 2, 3]
    assert state.seconds(2000.0) == pytest.approx(55.0)
