"""The state of a run follows from its own events alone."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import (
    Cancelled,
    EngineReady,
    Envelope,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.run import (
    SHOT_STAGES,
    BaselineEvaluated,
    Exported,
    Progressed,
    RecoveryUndone,
    RunFinished,
    RunResumed,
    RunStarted,
    SampleWritten,
    Stage,
    StageStarted,
    UndoReason,
)
from surgeon_gui.state import run as run_state
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.run_text import undone
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished
from tests.helpers.fake_results import recovered

CONFIG = RunConfig(pruning=pruning_config(shots=2))
STARTED = RunStarted("folder", 2, model_summary(), "cpu", 100, 50)
FINISHED = RunFinished(False, 9.0, 1)
ENDINGS = {
    FINISHED: Status.FINISHED,
    Failed("no", "hint"): Status.FAILED,
    Cancelled(): Status.CANCELLED,
}


def after(state: RunState, *events, at: float = 1.0, run: str = "run-1") -> RunState:
    for event in events:
        state = run_state.apply(state, Envelope(run, at, event))
    return state


def test_timeline_is_that_of_the_recovery_that_was_chosen(starting):
    chosen = replace(CONFIG.recovery, level=Recovery.REFIT)
    started = msgspec.structs.replace(STARTED, recovery=chosen)
    state = after(starting, started)
    assert state.config == CONFIG
    assert state.settled_config == replace(CONFIG, recovery=chosen)
    assert Stage.REFIT in state._timeline.recovery
    assert Stage.DISTILLATION not in state._timeline.recovery


@pytest.fixture
def starting():
    return run_state.requested("run-1", CONFIG, "folder", at=0.0)


@pytest.fixture
def running(starting):
    return after(starting, StageStarted(Stage.LOAD, 0), STARTED)


def test_requested_run_is_starting(starting):
    assert starting.status is Status.STARTING
    assert starting.status.is_busy
    assert starting.status.can_stop
    assert starting.status.can_cancel


def test_started_run_is_running(running):
    assert running.status is Status.RUNNING
    assert running.model == model_summary()


def test_run_can_be_stopped_once(starting, running):
    for state in (starting, running):
        stopping = run_state.stopping(state)
        assert stopping.status is Status.STOPPING
        assert not stopping.status.can_stop
        assert stopping.status.can_cancel


def test_run_can_be_cancelled_at_any_time_and_once(starting, running):
    for state in (starting, running, run_state.stopping(running)):
        cancelling = run_state.cancelling(state)
        assert cancelling.status is Status.CANCELLING
        assert not cancelling.status.can_cancel
        assert run_state.cancelling(cancelling) is cancelling


def test_late_start_does_not_undo_a_cancel(starting):
    state = after(run_state.cancelling(starting), STARTED)
    assert state.status is Status.CANCELLING


@pytest.mark.parametrize(("event", "status"), ENDINGS.items())
@pytest.mark.parametrize("before", ["running", "stopping", "cancelling"])
def test_final_event_ends_the_run_in_any_status(running, event, status, before):
    state = {
        "running": running,
        "stopping": run_state.stopping(running),
        "cancelling": run_state.cancelling(running),
    }[before]
    ended = after(state, event, at=5.0)
    assert ended.status is status
    assert not ended.status.is_busy
    assert ended.ended == 5.0
    assert ended.seconds(now=1e9) == 5.0


def test_events_after_the_end_change_nothing(running):
    ended = after(running, FINISHED)
    for event in (STARTED, Failed("late"), Progressed(Stage.LOAD, 0, 1, 2)):
        assert after(ended, event) is ended


def test_events_of_another_run_change_nothing(running):
    for run in ("run-0", "run-2", ""):
        assert after(running, FINISHED, run=run) is running


def test_unrelated_events_change_nothing(running):
    for event in (Logged(Level.INFO, "hello"), EngineReady({}, "cpu", 1)):
        state = after(running, event)
        assert state.status is Status.RUNNING
        assert state.history == ()


def test_evaluations_shots_and_export_are_kept(running):
    shots = [shot_finished(shot, 2, 0.3) for shot in (1, 2)]
    exported = Exported("folder/export", 10, 20, 0.0)
    state = after(running, BaselineEvaluated(evaluation(9.0)), *shots, exported)
    assert state.baseline == evaluation(9.0)
    assert state.history == tuple(shots)
    assert state.layers == shots[-1].layers
    assert state.exported == exported


def test_latest_evaluation_follows_recovery(running):
    assert running.evaluation is None
    shot = shot_finished(1, 1, 0.3)
    state = after(running, shot)
    assert state.evaluation == shot.evaluation
    state = after(state, recovered(12.0))
    assert state.evaluation == evaluation(12.0)
    assert state.history == (shot,)


def test_layers_before_the_first_shot_have_nothing_removed(starting, running):
    assert starting.layers == ()
    assert {layer.removed for layer in running.layers} == {0}


def test_progress_of_a_finished_stage_is_ignored(running):
    state = after(running, StageStarted(Stage.BASELINE, 0))
    state = after(state, Progressed(Stage.LOAD, 0, 3, 4))
    assert state.total == 0


def test_progress_never_decreases_and_ends_at_one(running):
    seen = [running.progress]
    state = running
    for shot in (1, 2):
        for stage in SHOT_STAGES:
            state = after(state, StageStarted(stage, shot), at=10.0 * shot)
            for done in range(5):
                event = Progressed(stage, shot, done, 4)
                state = after(state, event, at=10.0 * shot + done)
                seen.append(state.progress)
    seen.append(after(state, FINISHED).progress)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert seen[-2] < 1.0


def test_stage_times_are_measured(running):
    state = after(running, StageStarted(Stage.TEXT, 0), at=4.0)
    state = after(state, StageStarted(Stage.BASELINE, 0), at=4.5)
    seconds = {time.stage: time.seconds for time in state.times}
    assert seconds == {Stage.LOAD: 3.0, Stage.TEXT: 0.5}


def test_stopped_run_expects_no_further_shots(running):
    busy = after(
        running,
        StageStarted(Stage.CURVATURE, 1),
        Progressed(Stage.CURVATURE, 1, 2, 4),
    )
    long = busy.remaining_seconds(now=11.0)
    short = run_state.stopping(busy).remaining_seconds(now=11.0)
    assert short < long


def test_samples_are_kept_and_a_resumed_run_writes_later_ones_again(starting):
    written = [
        SampleWritten(0, "one"),
        SampleWritten(1, "two"),
        SampleWritten(2, "three"),
        SampleWritten(2, "four", is_recovered=True),
    ]
    state = after(starting, STARTED, *written)
    assert state.samples == tuple(written)
    resumed = after(state, RunResumed(1, 5.0))
    assert resumed.samples == tuple(written[:2])


def test_undone_recovery_is_said_in_a_sentence(starting):
    worse = RecoveryUndone(UndoReason.WORSE, Stage.REFIT)
    state = after(starting, STARTED, worse, worse)
    assert undone(state) == (
        "The refit moved the model further from the original: undone."
    )
    of_shot = RecoveryUndone(UndoReason.WORSE, Stage.DISTILLATION, shot=1)
    assert undone(after(starting, STARTED, of_shot)) == ""  # the shot was rejected
    kept = after(starting, STARTED, of_shot, shot_finished(1, 2, 0.3))
    assert "training did not bring" in undone(kept)
    failed = after(starting, STARTED, RecoveryUndone(UndoReason.FAILED))
    assert undone(failed) == "Recovery failed: undone."
