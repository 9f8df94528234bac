"""A run's own clock stands still during pauses, live and when events are read again."""

from __future__ import annotations

import pytest

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Cancelled, Envelope
from surgeon_engine.api.messages.run import (
    MemorySampled,
    Paused,
    Progressed,
    Resumed,
    RunFinished,
    RunStarted,
    Stage,
    StageStarted,
)
from surgeon_gui.state import run as run_state
from surgeon_gui.state.run import Status
from surgeon_gui.state.step_text import stage_times
from surgeon_gui.text.labels import STAGES
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary

CONFIG = RunConfig(pruning=pruning_config(shots=2))
PEAKS = ((700, 1000), (600, 2000))  # MB in RAM and on the GPU
STARTED = RunStarted("folder", 2, model_summary(), "cpu", 100, 50)


def told(state, at, *events):
    for event in events:
        state = run_state.apply(state, Envelope("run-1", at, event))
    return state


@pytest.fixture
def running():
    """It has been in its first curvature for 10 of about 40 seconds."""
    state = run_state.requested("run-1", CONFIG, "folder", at=0.0)
    state = told(state, 0.0, StageStarted(Stage.LOAD, 0), STARTED)
    state = told(state, 5.0, StageStarted(Stage.CURVATURE, 1))
    return told(state, 15.0, Progressed(Stage.CURVATURE, 1, 1, 4))


def test_pause_can_be_asked_once_and_is_so_when_the_engine_says_so(running):
    pausing = run_state.pausing(running)
    assert pausing.status is Status.PAUSING
    assert run_state.pausing(pausing) is pausing
    paused = told(pausing, 16.0, Paused())
    assert paused.status is Status.PAUSED
    assert paused.status.is_busy


def test_only_a_running_run_can_be_paused():
    idle = run_state.RunState()
    starting = run_state.requested("run-1", CONFIG, "folder", at=0.0)
    for state in (idle, starting, run_state.stopping(starting)):
        assert run_state.pausing(state) is state


def test_only_a_paused_run_can_be_resumed(running):
    assert run_state.resuming(running) is running
    paused = told(run_state.pausing(running), 16.0, Paused())
    assert run_state.resuming(paused).status is Status.RUNNING


def test_events_that_are_read_again_pause_it_too(running):
    paused = told(running, 16.0, Paused())
    assert paused.status is Status.PAUSED
    assert told(paused, 26.0, Resumed()).status is Status.RUNNING


def test_a_pause_that_is_told_late_does_not_undo_a_stop_or_a_cancel(running):
    for asked in (run_state.stopping, run_state.cancelling):
        state = asked(run_state.pausing(running))
        assert told(state, 16.0, Paused()).status is state.status


def test_a_resume_that_is_told_late_does_not_undo_the_next_pause(running):
    paused = told(run_state.pausing(running), 16.0, Paused())
    again = run_state.pausing(run_state.resuming(paused))
    assert told(again, 17.0, Resumed()).status is Status.PAUSING


def test_the_clock_stands_still(running):
    paused = told(running, 16.0, Paused())
    assert paused.seconds(now=16.0) == paused.seconds(now=500.0) == 16.0
    left = paused.remaining_seconds(now=16.0)
    assert paused.remaining_seconds(now=500.0) == left
    resumed = told(paused, 516.0, Resumed())
    assert resumed.seconds(now=516.0) == 16.0
    assert resumed.remaining_seconds(now=516.0) == pytest.approx(left)
    assert resumed.remaining_seconds(now=517.0) == pytest.approx(
        running.remaining_seconds(now=17.0)
    )


def test_progress_does_not_go_back_in_a_pause(running):
    paused = told(running, 16.0, Paused())
    resumed = told(paused, 516.0, Resumed())
    after = told(resumed, 517.0, Progressed(Stage.CURVATURE, 1, 2, 4))
    assert running.progress == paused.progress == resumed.progress < after.progress


def test_stages_are_timed_without_their_pauses(running):
    state = told(running, 16.0, Paused())
    state = told(state, 116.0, Resumed())
    state = told(state, 120.0, Paused())
    state = told(state, 220.0, Resumed())
    state = told(state, 225.0, StageStarted(Stage.SELECTION, 1))
    assert state.times[-1].stage is Stage.CURVATURE
    assert state.times[-1].seconds == 225.0 - 5.0 - 200.0


def test_a_run_that_is_cancelled_in_a_pause_did_not_work_in_it(running):
    state = run_state.cancelling(told(running, 16.0, Paused()))
    ended = told(state, 300.0, Cancelled())
    assert ended.seconds(now=1e9) == 16.0
    assert sum(time.seconds for time in ended.times) == 16.0
    assert ended.paused_at is None


def test_the_whole_of_a_run_is_told_without_its_pauses(running):
    state = told(told(running, 16.0, Paused()), 116.0, Resumed())
    ended = told(state, 130.0, RunFinished(False, 30.0, 1))
    assert ended.seconds(now=1e9) == 30.0


def test_samples_of_memory_stand_at_the_time_that_the_run_had_worked(running):
    state = told(running, 16.0, MemorySampled(100))
    state = told(told(state, 16.0, Paused()), 116.0, Resumed())
    state = told(state, 118.0, MemorySampled(200, 300, 400))
    assert list(state.memory.seconds) == [16.0, 18.0]
    assert list(state.memory.process_bytes) == [100, 200]
    assert len(running.memory) == 0


def test_the_most_memory_of_each_stage_stands_beside_its_time(running):
    mega, no_break = 10**6, "\N{NO-BREAK SPACE}"
    state = told(running, 16.0, MemorySampled(900 * mega), MemorySampled(640 * mega))
    state = told(state, 17.0, StageStarted(Stage.SELECTION, 1))
    first, second = (MemorySampled(x * mega, y * mega, 8000 * mega) for x, y in PEAKS)
    state = told(state, 18.0, first, second, StageStarted(Stage.UPDATE, 1))
    state = told(state, 20.0, StageStarted(Stage.EVALUATION, 1))
    times = {name: words.replace(no_break, " ") for name, words in stage_times(state)}
    names = [STAGES[x][1] for x in (Stage.CURVATURE, Stage.SELECTION, Stage.UPDATE)]
    assert [times[name] for name in names] == [
        "12 s, 900.0 MB",
        "1.0 s, 700.0 MB, GPU 2.0 GB",
        "2.0 s",
    ]
