"""The clock of a run excludes pauses, live and when events are read again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Cancelled
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
from surgeon_gui.state.run_text import stage_times
from surgeon_gui.text.labels import STAGES
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.run_states import with_events

CONFIG = RunConfig(pruning=pruning_config(shots=2))
PEAKS = ((700, 1000), (600, 2000))  # MB in RAM and on the GPU
STARTED = RunStarted("folder", 2, model_summary(), "cpu", 100, 50)


@pytest.fixture
def running():
    """Return a run 10 seconds into its first curvature of about 40 seconds."""
    state = run_state.requested("run-1", CONFIG, "folder", at=0.0)
    state = with_events(state, 0.0, StageStarted(Stage.LOAD, 0), STARTED)
    state = with_events(state, 5.0, StageStarted(Stage.CURVATURE, 1))
    return with_events(state, 15.0, Progressed(Stage.CURVATURE, 1, 1, 4))


def requested(run, status):
    """Return a run after the user has asked for something."""
    return replace(run, status=status)


def test_run_is_paused_by_the_event_of_the_engine(running):
    paused = with_events(requested(running, Status.PAUSING), 16.0, Paused())
    assert paused.status is Status.PAUSED
    assert paused.status.is_busy


@pytest.mark.parametrize("status", Status)
def test_only_a_run_in_progress_can_be_paused(status):
    assert status.can_pause is (status in (Status.STARTING, Status.RUNNING))


@pytest.mark.parametrize("stage", [Stage.LOAD, Stage.SAMPLING])
def test_run_is_paused_before_its_first_shot(stage):
    state = run_state.requested("run-1", CONFIG, "folder", at=0.0)
    state = requested(with_events(state, 1.0, StageStarted(stage, 0)), Status.PAUSING)
    paused = with_events(state, 2.0, Paused())
    assert paused.status is Status.PAUSED
    assert paused.seconds(100.0) == 2.0
    resumed = requested(paused, Status.RUNNING)
    resumed = with_events(resumed, 12.0, Resumed(), STARTED)
    assert resumed.status is Status.RUNNING
    assert resumed.seconds(13.0) == 3.0


def test_events_without_a_request_pause_the_run(running):
    paused = with_events(running, 16.0, Paused())
    assert paused.status is Status.PAUSED
    assert with_events(paused, 26.0, Resumed()).status is Status.RUNNING


def test_late_pause_does_not_undo_a_stop_or_a_cancel(running):
    for status in (Status.STOPPING, Status.CANCELLING):
        state = requested(running, status)
        assert with_events(state, 16.0, Paused()).status is status


def test_late_resume_does_not_undo_the_next_pause(running):
    paused = with_events(running, 16.0, Paused())
    again = requested(paused, Status.PAUSING)
    assert with_events(again, 17.0, Resumed()).status is Status.PAUSING


def test_clock_excludes_pauses(running):
    paused = with_events(running, 16.0, Paused())
    assert paused.seconds(now=16.0) == paused.seconds(now=500.0) == 16.0
    left = paused.remaining_seconds(now=16.0)
    assert paused.remaining_seconds(now=500.0) == left
    resumed = with_events(paused, 516.0, Resumed())
    assert resumed.seconds(now=516.0) == 16.0
    assert resumed.remaining_seconds(now=516.0) == pytest.approx(left)
    assert resumed.remaining_seconds(now=517.0) == pytest.approx(
        running.remaining_seconds(now=17.0)
    )


def test_progress_does_not_decrease_in_a_pause(running):
    paused = with_events(running, 16.0, Paused())
    resumed = with_events(paused, 516.0, Resumed())
    after = with_events(resumed, 517.0, Progressed(Stage.CURVATURE, 1, 2, 4))
    assert running.progress == paused.progress == resumed.progress < after.progress


def test_stage_times_exclude_pauses(running):
    state = with_events(running, 16.0, Paused())
    state = with_events(state, 116.0, Resumed())
    state = with_events(state, 120.0, Paused())
    state = with_events(state, 220.0, Resumed())
    state = with_events(state, 225.0, StageStarted(Stage.SELECTION, 1))
    assert state.times[-1].stage is Stage.CURVATURE
    assert state.times[-1].seconds == 225.0 - 5.0 - 200.0


def test_seconds_of_a_run_cancelled_in_a_pause_exclude_it(running):
    paused = with_events(running, 16.0, Paused())
    state = requested(paused, Status.CANCELLING)
    ended = with_events(state, 300.0, Cancelled())
    assert ended.seconds(now=1e9) == 16.0
    assert sum(time.seconds for time in ended.times) == 16.0
    assert ended.paused_at is None


def test_seconds_of_a_finished_run_exclude_pauses(running):
    state = with_events(with_events(running, 16.0, Paused()), 116.0, Resumed())
    ended = with_events(state, 130.0, RunFinished(False, 30.0, 1))
    assert ended.seconds(now=1e9) == 30.0


def test_memory_samples_are_at_the_elapsed_seconds(running):
    state = with_events(running, 16.0, MemorySampled(100))
    state = with_events(with_events(state, 16.0, Paused()), 116.0, Resumed())
    state = with_events(state, 118.0, MemorySampled(200, 300, 400))
    assert list(state.memory.seconds) == [16.0, 18.0]
    assert list(state.memory.process_bytes) == [100, 200]
    assert len(running.memory) == 0


def test_stage_times_show_the_maximum_memory(running):
    mega, no_break = 10**6, "\N{NO-BREAK SPACE}"
    state = with_events(
        running, 16.0, MemorySampled(900 * mega), MemorySampled(640 * mega)
    )
    state = with_events(state, 17.0, StageStarted(Stage.SELECTION, 1))
    first, second = (MemorySampled(x * mega, y * mega, 8000 * mega) for x, y in PEAKS)
    state = with_events(state, 18.0, first, second, StageStarted(Stage.UPDATE, 1))
    state = with_events(state, 20.0, StageStarted(Stage.EVALUATION, 1))
    times = {name: text.replace(no_break, " ") for name, text in stage_times(state)}
    names = [STAGES[x][1] for x in (Stage.CURVATURE, Stage.SELECTION, Stage.UPDATE)]
    assert [times[name] for name in names] == [
        "12 s, 900.0 MB",
        "1.0 s, 700.0 MB, GPU 2.0 GB",
        "2.0 s",
    ]
