"""Requests of the session, and its runs, which the list reads again."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace as replaced

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.commands import Cancel, DescribeText, Watch
from surgeon_engine.api.messages.events import Cancelled, Envelope, Failed
from surgeon_engine.api.messages.run import (
    MemorySampled,
    Progressed,
    RunStarted,
    Stage,
    StageStarted,
)
from surgeon_engine.api.messages.sources import TextDescribed
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.detached.watch import RunWatch
from surgeon_gui.base import paths
from surgeon_gui.controllers import runs as runs_module
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.app import only_run_progressed
from surgeon_gui.state.job.checks import measure_obstacle
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import Status, apply, requested
from surgeon_gui.state.runs.reading import RunOutcome, saved_place
from surgeon_gui.text.problems import Kind
from tests.helpers.fake_engine import shot_finished
from tests.helpers.fake_results import exported, recovered
from tests.helpers.fake_runs import BEGAN, write_run, write_saved_state

KIND = RequestKind.DESCRIPTION
DESCRIBED = TextDescribed((), "")


def describe(session):
    """Request a description and return the id of the request."""
    session.store.start_request(
        KIND, partial(DescribeText, calibration=CalibrationConfig())
    )
    return session.state.request(KIND).id


def test_start_request_sends_a_command_with_the_id_of_the_request(session, engine):
    id_ = describe(session)
    assert [command.run for command in engine.commands] == [id_]
    assert session.state.request(KIND).is_open


def test_next_request_of_a_kind_makes_the_last_obsolete(session, engine):
    first, second = describe(session), describe(session)
    assert first != second
    engine.deliver([Envelope(first, 0.0, DESCRIBED)])
    assert session.state.request(KIND).is_open
    engine.deliver([Envelope(second, 0.0, DESCRIBED)])
    assert session.state.request(KIND).response == DESCRIBED


def test_cancel_request_sends_one_cancel_of_an_open_request(session, engine):
    session.store.cancel_request(KIND)
    assert engine.commands == []
    id_ = describe(session)
    for _ in range(2):
        session.store.cancel_request(KIND)
    assert engine.commands[1:] == [Cancel(run=id_)]
    assert session.state.request(KIND).is_cancelling


@pytest.mark.parametrize("event", [DESCRIBED, Failed("no text")])
def test_request_ended_is_emitted_once_after_the_change(session, engine, event):
    ended = []
    session.request_ended.connect(
        lambda kind, request: ended.append((kind, request, session.state.request(kind)))
    )
    id_ = describe(session)
    engine.deliver([Envelope(id_, 0.0, event), Envelope(id_, 0.0, event)])
    ((kind, request, stored),) = ended
    assert kind is KIND
    assert request is stored
    assert not request.is_open


@pytest.mark.parametrize("is_of_task", [True, False])
def test_error_of_a_task_ends_with_the_next_task_or_model(session, engine, is_of_task):
    def fail():
        session.store.start_request(RequestKind.SAVE, Cancel)
        assert session.state.notice is None
        id_ = session.state.request(RequestKind.SAVE).id
        engine.deliver([Envelope(id_, 0.0, Failed("full disk"))])
        if not is_of_task:  # such as a broken preset at the start
            session.store.report("broken preset")
        assert session.state.notice is not None

    fail()
    fail()
    describe(session)
    assert session.state.notice is not None
    session.draft.choose_model("demo")
    assert (session.state.notice is None) is is_of_task
    fail()
    session.draft.load(RunConfig())
    assert (session.state.notice is None) is is_of_task


@pytest.mark.parametrize("text", ["a\0b", "x" * 300, "\udcff"])
def test_path_that_none_can_be_is_shown_and_not_used(session, text):
    before = session.state.config
    for use in (session.draft.choose_model, session.draft.set_runs_folder):
        session.dismiss_problem()
        use(text)
        assert session.state.notice.message
        assert session.state.config == before
        assert session.state.runs_folder != text


def test_clock_advances_a_stage_without_steps(session):
    run = requested("run-1", RunConfig(), "folder", at=time.time() - 60)
    run = apply(run, Envelope("run-1", time.time() - 60, StageStarted(Stage.LOAD, 0)))
    session._set_run(run)
    assert run.progress == 0
    session._set_run(replace(run, log_bytes=1000))  # read, and no engine watches it
    session._on_clock_ticked()
    assert session.state.run.progress == 0
    session._set_run(run)
    session._on_clock_ticked()
    assert session.state.run.progress > 0


def test_files_of_the_run_in_view_are_looked_for_once(session, tmp_path, monkeypatch):
    result = exported(str(tmp_path), PruningConfig())
    run = requested("run-1", RunConfig(), "folder", at=0.0)
    run = replace(run, status=Status.FINISHED, exported=result)
    looked = []
    monkeypatch.setattr(paths, "exists", looked.append)
    session._set_run(run)
    assert looked == ["folder", str(tmp_path)]
    session.store.report("full disk")
    session._set_run(replace(run, ended=1.0))
    assert len(looked) == 2
    assert measure_obstacle(session.state).kind is Kind.FILE_MISSING
    session._set_run(replace(run, saved=(result,)))
    assert len(looked) == 4
    session.reopen(run, "earlier")
    session.reopen(replace(run, computer="farm"), "farm")
    assert looked.count(str(tmp_path)) == 3


def test_tick_of_the_clock_is_no_edit(session):
    """The window draws the pages of the draft again after an edit alone."""
    session._set_run(requested("run-1", RunConfig(), "folder", at=time.time()))
    before = session.state
    session._on_clock_ticked()
    assert only_run_progressed(before, session.state)


@pytest.mark.parametrize(("is_saved", "seconds"), [(True, 10.0), (False, 40.0)])
def test_resumed_run_shows_the_saved_time(session, tmp_path, is_saved, seconds):
    if is_saved:
        write_saved_state(tmp_path)
    earlier = requested("old", RunConfig(), str(tmp_path), at=100.0)
    ended = {"status": Status.CANCELLED, "ended": 140.0, "saved_seconds": None}
    place = saved_place(str(tmp_path))
    earlier = replace(earlier, resumes_at=place, **ended)
    session.resume_run(earlier)
    assert session.state.run.seconds(1e9) == seconds


def test_second_click_on_resume_does_nothing(session, engine, tmp_path):
    earlier = requested("old", RunConfig(), str(tmp_path), at=100.0)
    earlier = replace(earlier, status=Status.CANCELLED, ended=140.0)
    session.resume_run(earlier)
    first, sent = session.state, [*engine.commands]
    session.resume_run(earlier)
    assert session.state is first
    assert engine.commands == sent
    session.resume_run(replace(earlier, folder="another"))
    assert session.state.notice is not None


def test_run_in_progress_shows_its_newest_stage_before_the_engine_answers(
    qtbot, session, engine, tmp_path
):
    folder = write_run(tmp_path, ending="killed")
    run, stage = RunFolder(folder), Stage.UPDATE
    for event in (StageStarted(stage, 2), Progressed(stage, 2, 3, 4), MemorySampled(1)):
        run.append(Envelope("run-1", BEGAN + 5_000, event))
    size = run.events_path.stat().st_size
    with run.events_path.open("ab") as log:
        log.write(b'{"run":"run-1",')  # it is being written
    controller = RunsController(session)
    with run.locked():
        with qtbot.waitSignal(controller.opened):
            controller.reopen(str(folder))
        shown, (command,) = session.state.run, engine.commands
        assert (shown.stage, shown.shot, shown.done) == (stage, 2, 3)
        assert shown.status is Status.RUNNING
        assert isinstance(command, Watch)
    arrived = []
    session.events_arrived.connect(arrived.extend)
    *logged, crash = (
        replaced(each, run=command.run)
        for each in RunWatch(run, command.offset).events()
    )
    engine.deliver(logged)
    assert arrived == logged  # the log of the window shows them
    assert any(isinstance(each.event, RunStarted) for each in logged)
    assert session.state.run is shown  # it has them already
    shot = Envelope(command.run, BEGAN + 5_001, shot_finished(2, 3, 0.3), size + 1)
    engine.deliver([shot])
    assert [shot.shot for shot in session.state.run.history] == [1, 2]
    assert crash.offset == size
    engine.deliver([crash])
    assert session.state.run.status is Status.FAILED


def test_run_is_listed_before_its_engine_has_made_its_folder(
    qtbot, session, engine, tmp_path
):
    controller = RunsController(session)
    session.start_run()
    run = session.state.run
    qtbot.waitUntil(lambda: bool(controller.state.records))
    (record,) = controller.state.records
    assert (record.folder, record.outcome) == (run.folder, RunOutcome.RUNNING)
    assert not Path(run.folder).exists()
    with qtbot.waitSignal(controller.opened):
        controller.reopen(record.folder)
    engine.deliver([Envelope(run.run, 1.0, Cancelled())])
    qtbot.waitUntil(lambda: not controller.state.records)


def test_list_that_cannot_be_read_is_not_read_again_for_the_same_run(
    qtbot, session, engine, monkeypatch
):
    controller = RunsController(session)
    session.start_run()
    qtbot.waitUntil(lambda: not controller._is_reading)
    monkeypatch.setattr(runs_module, "_read", lambda parent, known: "No.")
    controller.refresh()
    qtbot.waitUntil(lambda: controller.state.problem == "No.")
    session.changed.emit()
    assert not controller._is_reading


@pytest.fixture
def refreshed(qtbot, session, tmp_path, monkeypatch):
    """Return a list that grows by one whenever the list of runs is read again."""
    controller = RunsController(session)
    session._set_run(requested("run-1", RunConfig(), str(tmp_path / "run"), 0.0))
    qtbot.waitUntil(lambda: not controller._is_reading)
    refreshed = []
    monkeypatch.setattr(controller, "refresh", lambda: refreshed.append(True))
    return refreshed


@pytest.mark.parametrize(
    "event", [shot_finished(1, 1, 0.3), recovered(14.9), Cancelled()]
)
def test_event_with_figures_updates_the_list(engine, refreshed, event):
    engine.deliver([Envelope("run-1", 1.0, event)])
    assert refreshed == [True]
    engine.deliver([Envelope("run-2", 1.0, event)])
    assert refreshed == [True]


def test_commands_to_an_engine_that_is_no_longer_used_end(session, engine):
    engine.switch = lambda client, marker: None
    ended, received = Envelope("generate-1", 0.0, Cancelled()), []
    session.events_arrived.connect(received.append)
    session.use_computer("", None)
    late = Envelope("generate-1", 0.0, DESCRIBED)
    marker = Envelope(session._marker, 0.0, DESCRIBED)
    engine.deliver([late, ended, marker, late])
    assert received == [[ended, late]]
