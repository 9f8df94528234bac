"""Closing the window during a task asks first and leaves no process behind."""

from dataclasses import replace

import psutil
import pytest
from PySide6.QtWidgets import QMessageBox

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.messages.run import Stage
from surgeon_gui.state import app
from surgeon_gui.state.app import AppState
from surgeon_gui.state.queue.state import QueueState
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.window import closing
from tests.helpers.fake_engine import FAILURE, NO_SPACE, shot_finished
from tests.helpers.fake_runs import write_saved_state
from tests.helpers.windows import (
    TIMEOUT_MS,
    click,
    find,
    load_and_wait,
    run_of,
    run_until,
    wait_for_status,
    wait_until,
)

pytestmark = pytest.mark.slow


def question(window):
    return find(window, "close_question", QMessageBox)


def test_question_says_whether_progress_is_kept(tmp_path):
    run = RunState(status=Status.RUNNING, folder=str(tmp_path))
    unsaved = closing._close_text(None, AppState(run=run), QueueState())
    write_saved_state(tmp_path)
    saved = closing._close_text(None, AppState(run=run), QueueState())
    assert saved.explanation != unsaved.explanation
    assert not saved.keep and "Finish here" not in saved.explanation
    exporting = AppState(run=replace(run, stage=Stage.EXPORT))
    text = closing._close_text(None, exporting, QueueState())
    assert text.keep and "current shot" not in text.explanation
    shots = (shot_finished(1, 1, 0.3),)
    for status in (Status.RUNNING, Status.PAUSED):
        recovering = replace(run, status=status, stage=Stage.REFIT, history=shots)
        text = closing._close_text(None, AppState(run=recovering), QueueState())
        assert text.keep and "shot" not in text.explanation


def test_texts_name_the_button_that_keeps_the_task():
    others = (closing._PAUSED_TEXT, closing._EXPORTING_TEXT)
    for text in (*closing._CLOSE_TEXTS.values(), *others):
        assert not text.keep or f"“{text.keep}”" in text.explanation


@pytest.fixture
def running(qtbot, make_window):
    window = make_window("--pause", "0.01")
    run_until(qtbot, window, Status.RUNNING)
    return window


def test_close_during_a_run_asks_and_can_keep_it_running(qtbot, running):
    running.close()
    assert running.isVisible()
    assert question(running).isVisible()
    assert not find(running, "close_keep_button").isVisible()  # there is nothing yet
    click(running, "close_stay_button")
    wait_until(qtbot, lambda: run_of(running).can_stop)
    running.close()
    click(running, "close_keep_button")
    running.close()
    click(running, "close_stay_button")  # revokes the stop
    assert not question(running).isVisible()
    assert run_of(running).status.is_busy
    running.close()
    wait_for_status(qtbot, running, Status.FINISHED)
    assert not question(running).isVisible()
    assert running.isVisible()
    with qtbot.waitSignal(running.closed, timeout=TIMEOUT_MS):
        running.close()


def test_cancel_and_close_leaves_no_process(qtbot, running):
    running.close()
    with qtbot.waitSignal(running.closed, timeout=TIMEOUT_MS):
        click(running, "close_cancel_button")
    assert not running.isVisible()
    assert not psutil.Process().children(recursive=True)


def test_run_that_goes_on_is_not_cancelled_with_a_download(qtbot, running):
    session = running.session
    state = app.with_request(session.state, RequestKind.DOWNLOAD, Request("download-1"))
    session.store.set(replace(state, run=replace(state.run, goes_on=True)))
    running.close()
    with qtbot.waitSignal(running.closed, timeout=TIMEOUT_MS):
        click(running, "close_cancel_button")
    assert run_of(running).status is Status.RUNNING


def test_hung_engine_does_not_keep_the_window_open(qtbot, make_window):
    window = make_window("--mishap", "hang", "--at", "baseline")
    run_until(qtbot, window, Status.RUNNING)
    window.close()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_cancel_button")
    assert not psutil.Process().children(recursive=True)


def test_stop_and_keep_ends_a_run_after_the_shot(qtbot, running):
    wait_until(qtbot, lambda: run_of(running).can_stop)
    running.close()
    with qtbot.waitSignal(running.closed, timeout=TIMEOUT_MS):
        click(running, "close_keep_button")
        assert running.isVisible()  # until the files are written
    assert run_of(running).result.stopped_early
    assert run_of(running).exported is not None
    assert not psutil.Process().children(recursive=True)


def test_failed_run_keeps_the_window_open_and_shows_the_error(qtbot, make_window):
    window = make_window("--pause", "0.01", "--mishap", "fail", "--at", "export")
    run_until(qtbot, window, Status.RUNNING)
    wait_until(qtbot, lambda: run_of(window).can_stop)
    window.close()
    click(window, "close_keep_button")
    wait_for_status(qtbot, window, Status.FAILED)
    assert window.isVisible()
    assert find(window, "error_message").text() == FAILURE


@pytest.fixture
def saving(qtbot, window):
    """Return a function that starts saving the result of a finished run."""
    run_until(qtbot, window, Status.FINISHED)

    def save(destination):
        window.session.edit_save_config(ExportConfig(destination))
        window.session.save()
        return window

    return save


def test_close_while_saving_asks_and_waits(qtbot, saving, tmp_path):
    window = saving(str(tmp_path / "full"))
    assert not find(window, "start_button").isEnabled()
    window.close()
    click(window, "close_keep_button")
    wait_until(qtbot, lambda: not window.session.state.is_busy)
    assert window.isVisible()
    assert find(window, "error_message").text() == NO_SPACE
    window = saving(str(tmp_path / "elsewhere"))
    window.close()
    assert window.isVisible()
    assert question(window).text()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_keep_button")
    assert window.session.state.request(RequestKind.SAVE).response is not None


def test_close_during_a_measurement_or_diagnosis_asks(qtbot, make_window):
    window = make_window("--pause", "0.01")
    load_and_wait(qtbot, window)
    click(window, "diagnose_button")
    window.close()
    diagnosing = question(window).text()
    wait_until(qtbot, lambda: not window.session.state.is_busy)
    assert not question(window).isVisible()
    assert window.isVisible()
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    window.session.measure()
    window.close()
    assert window.isVisible()
    assert question(window).text() != diagnosing
    assert not find(window, "close_keep_button").isVisible()
    click(window, "close_stay_button")
    assert window.session.state.is_busy
    window.close()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_cancel_button")
    assert not psutil.Process().children(recursive=True)


@pytest.fixture
def downloading(qtbot, make_window, tmp_path, monkeypatch):
    """Return a function that closes the window during a download."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))

    def start(source):
        window = make_window("--pause", "0.01")
        window.session.draft.choose_model(source)
        click(window, "download_button")
        assert window.session.state.download.is_open
        window.close()
        return window

    return start


def test_close_during_a_download_can_cancel_it(qtbot, downloading):
    window = downloading("hf://someone/tiny")
    assert question(window).informativeText()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_cancel_button")
    assert not psutil.Process().children(recursive=True)


def test_close_can_wait_for_a_download(qtbot, downloading):
    window = downloading("hf://someone/tiny")
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_keep_button")
        assert window.isVisible()
    assert window.session.state.download.response is not None
