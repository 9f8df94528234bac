"""The state of a run follows from its own events, also in pauses and when resumed."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
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
    MemorySampled,
    Paused,
    Progressed,
    RecoveryUndone,
    Resumed,
    RunFinished,
    RunResumed,
    RunStarted,
    SampleWritten,
    Stage,
    StageStarted,
    UndoReason,
)
from surgeon_gui.state import eta
from surgeon_gui.state import run as run_state
from surgeon_gui.state.result_text import clock
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.run_text import steps_left_out, undone
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished
from tests.helpers.fake_results import exported, recovered
from tests.helpers.run_states import with_events

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
    assert Stage.REFIT in state.timeline.recovery
    assert Stage.DISTILLATION not in state.timeline.recovery


@pytest.fixture
def starting():
    return run_state.requested("run-1", CONFIG, "folder", at=0.0)


@pytest.fixture
def running(starting):
    return after(starting, StageStarted(Stage.LOAD, 0), STARTED)


@pytest.mark.parametrize(
    ("status", "can_stop", "can_cancel"),
    [
        (Status.RUNNING, True, True),
        (Status.STOPPING, False, True),
        (Status.CANCELLING, False, False),
    ],
)
def test_run_can_be_stopped_and_cancelled_once(running, status, can_stop, can_cancel):
    assert not replace(running, status=status).can_stop  # nothing is removed
    run = replace(running, status=status, history=(shot_finished(1, 2, 0.3),))
    assert (run.can_stop, run.status.can_cancel) == (can_stop, can_cancel)


def test_late_start_does_not_undo_a_cancel(starting):
    state = after(replace(starting, status=Status.CANCELLING), STARTED)
    assert state.status is Status.CANCELLING


@pytest.mark.parametrize(("event", "status"), ENDINGS.items())
@pytest.mark.parametrize("before", [Status.RUNNING, Status.STOPPING, Status.CANCELLING])
def test_final_event_ends_the_run_in_any_status(running, event, status, before):
    ended = after(replace(running, status=before), event, at=5.0)
    assert ended.status is status
    assert not ended.status.is_busy
    assert ended.ended == 5.0
    # As the engine says, or from the first event on.
    expected = 9.0 if status is Status.FINISHED else 4.0
    assert ended.seconds(now=1e9) == expected


def test_events_after_the_end_change_nothing(running):
    ended = after(running, FINISHED)
    for event in (STARTED, Failed("late"), Progressed(Stage.LOAD, 0, 1, 2)):
        assert after(ended, event) is ended


def test_events_of_another_run_change_nothing(running):
    for run in ("run-0", "run-2", ""):
        assert after(running, FINISHED, run=run) is running


def test_unrelated_events_change_nothing(running):
    for event in (Logged(Level.INFO, "hello"), EngineReady({}, "cpu")):
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


def test_stopped_run_expects_no_further_shots(running):
    busy = after(
        running,
        StageStarted(Stage.CURVATURE, 1),
        Progressed(Stage.CURVATURE, 1, 2, 4),
    )
    long = busy.remaining_seconds(now=11.0)
    stopping = replace(busy, status=Status.STOPPING)
    short = stopping.remaining_seconds(now=11.0)
    assert short < long


@pytest.mark.parametrize("stage", [Stage.EVALUATION, Stage.REFIT, Stage.DISTILLATION])
def test_finishing_leaves_out_the_rest_of_the_recovery(stage):
    config = replace(
        CONFIG, recovery=replace(CONFIG.recovery, level=Recovery.DISTILLATION)
    )
    planned = {each: 10.0 for each in Stage}
    run = run_state.requested("run-1", config, "folder", at=0.0, planned=planned)
    shots = [shot_finished(shot, 2, 0.3) for shot in (1, 2)]
    run = after(run, STARTED, *shots, StageStarted(stage, 2))
    run = after(run, Progressed(stage, 2, 1, 4), at=3.5)
    going_on = run.remaining_seconds(now=3.5)
    finishing = replace(run, status=Status.STOPPING).remaining_seconds(now=3.5)
    left = {Stage.EVALUATION: 20.0, Stage.REFIT: 10.0, Stage.DISTILLATION: 10.0}
    assert going_on - finishing >= left[stage] - 5.0


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


def test_step_of_recovery_without_gain_is_no_failure(starting):
    worse = RecoveryUndone(UndoReason.WORSE, Stage.REFIT)
    state = after(starting, STARTED, worse, worse)
    assert steps_left_out(state) == (
        "The refit brought the model no closer to the original and was left out: the "
        "model is as good as it was before."
    )
    of_shot = RecoveryUndone(UndoReason.WORSE, Stage.DISTILLATION, shot=1)
    rejected = after(starting, STARTED, of_shot)
    assert steps_left_out(rejected) == ""  # the shot was rejected
    kept = after(starting, STARTED, of_shot, shot_finished(1, 2, 0.3))
    assert steps_left_out(kept).startswith("The distillation brought")
    resumed = after(state, RunResumed(0, 5.0), StageStarted(Stage.REFIT, 0))
    assert steps_left_out(resumed) == ""  # this refit may be kept
    failed = after(starting, STARTED, RecoveryUndone(UndoReason.FAILED))
    assert (steps_left_out(failed), undone(failed)) == ("", "Recovery failed: undone.")
    assert undone(kept) == ""


@pytest.fixture
def in_curvature():
    """Return a run 10 seconds into its first curvature of about 40 seconds."""
    state = run_state.requested("run-1", CONFIG, "folder", at=0.0)
    state = with_events(state, 0.0, StageStarted(Stage.LOAD, 0), STARTED)
    state = with_events(state, 5.0, StageStarted(Stage.CURVATURE, 1))
    return with_events(state, 15.0, Progressed(Stage.CURVATURE, 1, 1, 4))


def requested(run, status):
    """Return a run after the user has asked for something."""
    return replace(run, status=status)


@pytest.mark.parametrize("stage", [Stage.LOAD, Stage.SAMPLING])
def test_run_is_paused_before_its_first_shot(stage):
    state = run_state.requested("run-1", CONFIG, "folder", at=0.0)
    state = requested(with_events(state, 1.0, StageStarted(stage, 0)), Status.PAUSING)
    paused = with_events(state, 2.0, Paused())
    assert paused.status is Status.PAUSED
    assert paused.status.is_busy
    assert paused.seconds(100.0) == 1.0
    resumed = requested(paused, Status.RUNNING)
    resumed = with_events(resumed, 12.0, Resumed(), STARTED)
    assert resumed.status is Status.RUNNING
    assert resumed.seconds(13.0) == 2.0


def test_events_without_a_request_pause_the_run(in_curvature):
    paused = with_events(in_curvature, 16.0, Paused())
    assert paused.status is Status.PAUSED
    assert with_events(paused, 26.0, Resumed()).status is Status.RUNNING


def test_late_pause_does_not_undo_a_stop_or_a_cancel(in_curvature):
    for status in (Status.STOPPING, Status.CANCELLING):
        state = requested(in_curvature, status)
        assert with_events(state, 16.0, Paused()).status is status


def test_late_resume_does_not_undo_the_next_pause(in_curvature):
    paused = with_events(in_curvature, 16.0, Paused())
    again = requested(paused, Status.PAUSING)
    assert with_events(again, 17.0, Resumed()).status is Status.PAUSING


def test_clock_excludes_pauses(in_curvature):
    paused = with_events(in_curvature, 16.0, Paused())
    assert paused.seconds(now=16.0) == paused.seconds(now=500.0) == 16.0
    left = paused.remaining_seconds(now=16.0)
    assert paused.remaining_seconds(now=500.0) == left
    resumed = with_events(paused, 516.0, Resumed())
    assert resumed.seconds(now=516.0) == 16.0
    assert resumed.remaining_seconds(now=516.0) == pytest.approx(left)
    assert resumed.remaining_seconds(now=517.0) == pytest.approx(
        in_curvature.remaining_seconds(now=17.0)
    )


def test_progress_does_not_decrease_in_a_pause(in_curvature):
    paused = with_events(in_curvature, 16.0, Paused())
    resumed = with_events(paused, 516.0, Resumed())
    after = with_events(resumed, 517.0, Progressed(Stage.CURVATURE, 1, 2, 4))
    assert in_curvature.progress == paused.progress == resumed.progress < after.progress


def test_stage_times_exclude_pauses(in_curvature):
    state = with_events(in_curvature, 16.0, Paused())
    state = with_events(state, 116.0, Resumed())
    state = with_events(state, 120.0, Paused())
    state = with_events(state, 220.0, Resumed())
    state = with_events(state, 225.0, StageStarted(Stage.SELECTION, 1))
    assert state.times[-1].stage is Stage.CURVATURE
    assert state.times[-1].seconds == 225.0 - 5.0 - 200.0


def test_seconds_of_a_run_cancelled_in_a_pause_exclude_it(in_curvature):
    paused = with_events(in_curvature, 16.0, Paused())
    state = requested(paused, Status.CANCELLING)
    ended = with_events(state, 300.0, Cancelled())
    assert ended.seconds(now=1e9) == 16.0
    assert sum(time.seconds for time in ended.times) == 16.0
    assert ended.paused_at is None


def test_memory_samples_are_at_the_elapsed_seconds(in_curvature):
    state = with_events(in_curvature, 16.0, MemorySampled(100))
    state = with_events(with_events(state, 16.0, Paused()), 116.0, Resumed())
    state = with_events(state, 118.0, MemorySampled(200, 300, 400))
    assert list(state.memory.seconds) == [16.0, 18.0]
    assert list(state.memory.process_bytes) == [100, 200]
    assert len(in_curvature.memory) == 0
    waited = run_state.requested("run-1", CONFIG, "folder", at=0.0)
    waited = with_events(waited, 13.0, MemorySampled(50), StageStarted(Stage.LOAD, 0))
    waited = with_events(waited, 14.0, MemorySampled(60))
    assert list(waited.memory.seconds) == [1.0]  # in the order of time


def test_times_of_a_new_run_begin_with_its_first_stage():
    planned = {Stage.LOAD: 10.0, Stage.CURVATURE: 200.0}
    state = run_state.requested("run-1", CONFIG, "folder", 0.0, planned=planned)
    left = state.remaining_seconds(0.0)
    for now in (1.0, 20.0, 40.0):
        state = run_state.advanced(state, now)
        assert state.seconds(now) == 0
        assert state.remaining_seconds(now) == left
        assert "so far" not in clock(state, now)
    state = run_state.advanced(with_events(state, 41.0, Paused(), Resumed()), 42.0)
    state = with_events(state, 43.0, StageStarted(Stage.LOAD, 0))
    assert state.seconds(45.0) == 2
    assert run_state.advanced(state, 43.5).countdown.shown == eta.readable(left)


THREE_SHOTS = RunConfig(pruning=pruning_config(shots=3))
STARTED_THREE = RunStarted("folder", 3, model_summary(), "cpu", 100, 50)


@pytest.fixture
def broken_off():
    """Return a run that has done two shots in 40 seconds; the first one was saved."""
    state = run_state.requested("run-1", THREE_SHOTS, "folder", at=100.0)
    state = with_events(state, 100.0, StageStarted(Stage.LOAD, 0), STARTED_THREE)
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
    assert 0 < state.progress < 0.5  # one shot of three


def test_cancelled_run_goes_on(broken_off):
    state = with_events(broken_off, 140.0, Cancelled())
    state = with_events(state, 1000.0, RunResumed(1, 25.0))
    assert_goes_on(state)
    assert state.ended is None


def test_requested_run_waits_for_the_engine(broken_off):
    earlier = run_state.interrupted(broken_off, 140.0)
    state = run_state.resume_requested("run-9", earlier, 990.0, saved_seconds=25.0)
    assert state.status is Status.STARTING
    assert with_events(state, 1000.0, RunResumed(1, 25.0)) is state  # for another run
    state = run_state.apply(state, Envelope("run-9", 1000.0, RunResumed(1, 25.0)))
    assert_goes_on(state)


@pytest.mark.parametrize("seconds", [25.0, 20.0])
def test_clock_stands_still_until_the_state_is_loaded(broken_off, seconds):
    state, left = broken_off, broken_off.remaining_seconds(140.0)
    if seconds == 25.0:  # else its process was killed, as its log shows
        state = with_events(broken_off, 140.0, Cancelled())
        state = run_state.resume_requested("run-1", state, 990.0, saved_seconds=25.0)
        assert state.seconds(995.0) == 25.0
        assert state.remaining_seconds(995.0) < left + 20
    state = with_events(state, 996.0, StageStarted(Stage.LOAD, 0))
    state = with_events(state, 998.0, StageStarted(Stage.TEXT, 0))
    assert state.seconds(999.0) == seconds
    assert max(each.seconds for each in state.times) <= 20
    assert state.remaining_seconds(999.0) < left + 20
    assert_goes_on(with_events(state, 1000.0, RunResumed(1, 25.0)))


@pytest.mark.parametrize("status", [Status.PAUSED, Status.PAUSING, Status.STOPPING])
def test_run_that_was_killed_while_it_was_paused_runs_when_it_is_resumed(
    broken_off, status
):
    state = with_events(requested(broken_off, status), 140.0, Paused())
    state = with_events(state, 996.0, StageStarted(Stage.LOAD, 0))
    assert_goes_on(with_events(state, 1000.0, RunResumed(1, 25.0)))


def test_run_that_cannot_be_resumed_took_the_saved_time(broken_off):
    earlier = run_state.interrupted(broken_off, 140.0)
    state = run_state.resume_requested("run-1", earlier, 990.0, saved_seconds=25.0)
    state = with_events(state, 999.0, Failed("The text is another one."))
    assert state.seconds(2000.0) == 25.0


def test_early_cancel_is_not_undone(broken_off):
    earlier = run_state.interrupted(broken_off, 140.0)
    state = run_state.resume_requested("run-1", earlier, 990.0, 25.0)
    state = replace(state, status=Status.CANCELLING)
    state = with_events(state, 1000.0, RunResumed(1, 25.0))
    assert state.status is Status.CANCELLING


def test_resumed_stage_has_taken_the_time_before_the_interruption(broken_off):
    state = with_events(run_state.interrupted(broken_off, 140.0), 1000.0)
    began = RunResumed(1, 525.0), StageStarted(Stage.CURVATURE, 2, seconds=500.0)
    state = with_events(state, 1000.0, *began)
    state = with_events(state, 1010.0, Progressed(Stage.CURVATURE, 2, 51, 100))
    assert state.remaining_seconds(1010.0) > 400


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


@pytest.mark.parametrize(
    ("format_", "dtype", "is_first"),
    [
        (Format.GGUF, FileDtype.SAME, True),
        (Format.AUTOMATIC, FileDtype.Q4_0, True),
        (Format.COMPACT, FileDtype.SAME, False),
    ],
)
def test_checkpoint_before_a_file_does_not_end_the_progress(format_, dtype, is_first):
    export = ExportConfig(format=format_, dtype=dtype)
    config = RunConfig(pruning=pruning_config(shots=1), export=export)
    planned = {Stage.CURVATURE: 60.0, Stage.EXPORT: 50.0, Stage.VERIFICATION: 10.0}
    state = run_state.requested("run-1", config, "folder", 0.0, planned)
    started = msgspec.structs.replace(STARTED, shots=1)
    state = with_events(state, 0.0, StageStarted(Stage.LOAD, 0), started)
    state = with_events(state, 0.0, StageStarted(Stage.CURVATURE, 1))
    state = with_events(state, 60.0, StageStarted(Stage.EXPORT, 0))
    state = with_events(state, 61.0, StageStarted(Stage.VERIFICATION, 0))
    state = run_state.advanced(state, 65.0)
    if not is_first:
        assert state.progress > 0.8
        return
    assert state.progress == pytest.approx(0.5, abs=0.1)
    checkpoint = exported("folder/checkpoint", config.pruning)
    state = with_events(state, 66.0, checkpoint, StageStarted(Stage.EXPORT, 0))
    state = with_events(state, 91.0, Progressed(Stage.EXPORT, 0, 15, 30))
    assert state.progress == pytest.approx(0.7, abs=0.1)
    assert 30 < state.remaining_seconds(91.0) < 50
    state = with_events(state, 116.0, StageStarted(Stage.VERIFICATION, 0))
    assert 0.85 < state.progress < 1
