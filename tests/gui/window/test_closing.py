"""Closing the window in a run asks, and leaves no process behind."""

from __future__ import annotations

import psutil
import pytest
from PySide6.QtWidgets import QMessageBox

from surgeon_engine.api.config.export import ExportConfig
from surgeon_gui.state.run import Status
from tests.helpers.fake_engine import FAILURE, NO_ROOM
from tests.helpers.windows import (
    TIMEOUT_MS,
    click,
    find,
    load_and_wait,
    run_of,
    wait_for_status,
)


def question(window):
    return find(window, "close_question", QMessageBox)


@pytest.fixture
def running(qtbot, make_window):
    window = make_window("--pause", "0.03")
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.RUNNING)
    return window


def test_an_idle_window_closes_without_a_question(qtbot, window):
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        window.close()
    assert not psutil.Process().children(recursive=True)


def test_a_running_one_asks_and_goes_on(running):
    running.close()
    assert running.isVisible()
    assert question(running).isVisible()
    click(running, "close_stay_button")
    assert not question(running).isVisible()
    assert run_of(running).status is Status.RUNNING


def test_cancel_and_close_leaves_nothing(qtbot, running):
    running.close()
    with qtbot.waitSignal(running.closed, timeout=TIMEOUT_MS):
        click(running, "close_cancel_button")
    assert not running.isVisible()
    assert not psutil.Process().children(recursive=True)


def test_stop_and_keep_waits_for_the_export_and_then_closes(qtbot, running):
    running.close()
    with qtbot.waitSignal(running.closed, timeout=TIMEOUT_MS):
        click(running, "close_keep_button")
        assert running.isVisible()
    assert run_of(running).status is Status.FINISHED
    assert run_of(running).exported is not None
    assert not psutil.Process().children(recursive=True)


def test_the_question_goes_away_when_the_run_ends_by_itself(qtbot, running):
    running.close()
    wait_for_status(qtbot, running, Status.FINISHED)
    assert not question(running).isVisible()
    assert running.isVisible()


def test_a_hung_engine_does_not_keep_the_window_open(qtbot, make_window):
    window = make_window("--mishap", "hang", "--at", "baseline")
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.RUNNING)
    window.close()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_cancel_button")
    assert not psutil.Process().children(recursive=True)


def test_stop_and_keep_while_the_run_is_starting_is_heard(qtbot, make_window):
    window = make_window("--pause", "0.03")
    load_and_wait(qtbot, window)
    window.start_run()
    assert run_of(window).status is Status.STARTING
    window.close()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_keep_button")
        phase = find(window, "phase_label").text()
        assert phase.startswith("Stopping after the first")
    assert run_of(window).result.stopped_early
    assert len(run_of(window).history) == 1


def test_keep_running_takes_an_earlier_stop_and_close_back(qtbot, running):
    running.close()
    click(running, "close_keep_button")
    running.close()
    click(running, "close_stay_button")
    wait_for_status(qtbot, running, Status.FINISHED)
    assert running.isVisible()


def test_a_run_that_was_waited_for_and_fails_is_shown(qtbot, make_window):
    window = make_window("--pause", "0.1", "--mishap", "fail", "--at", "update")
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.RUNNING)
    window.close()
    click(window, "close_keep_button")
    wait_for_status(qtbot, window, Status.FAILED)
    assert window.isVisible()
    assert find(window, "error_message").text() == FAILURE


@pytest.fixture
def saving(qtbot, window):
    """Begins to save at a destination, in a window with a finished run."""
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)

    def save(destination):
        window.session.edit_another(ExportConfig(destination))
        window.session.save()
        return window

    return save


def test_a_save_under_way_is_asked_about_and_waited_for(qtbot, saving, tmp_path):
    window = saving(str(tmp_path / "elsewhere"))
    window.close()
    assert window.isVisible()
    assert "saved in another format" in question(window).text()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_keep_button")
    assert window.session.state.save.answer is not None


def test_a_save_need_not_be_waited_for(qtbot, saving, tmp_path):
    window = saving(str(tmp_path / "elsewhere"))
    window.close()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_cancel_button")
    assert window.session.state.save.is_cancelling


def test_a_save_that_was_waited_for_and_fails_is_shown(qtbot, saving, tmp_path):
    window = saving(str(tmp_path / "full"))
    window.close()
    click(window, "close_keep_button")
    qtbot.waitUntil(lambda: not window.session.state.save.is_open, timeout=TIMEOUT_MS)
    assert window.isVisible()
    assert find(window, "error_message").text() == NO_ROOM


def test_no_run_is_started_while_a_model_is_being_saved(qtbot, saving, tmp_path):
    window = saving(str(tmp_path / "elsewhere"))
    assert not find(window, "start_button").isEnabled()
    assert "being saved" in window.session.start_obstacle()
    qtbot.waitUntil(lambda: find(window, "start_button").isEnabled())


@pytest.mark.parametrize(
    ("begin", "words"),
    [("measure", "being measured"), ("diagnose", "being diagnosed")],
)
def test_what_closing_would_lose_is_asked_about(qtbot, make_window, begin, words):
    window = make_window("--pause", "0.03")
    load_and_wait(qtbot, window)
    if begin == "measure":
        window.start_run()
        wait_for_status(qtbot, window, Status.FINISHED)
        window.session.measure()
    else:
        click(window, "target_diagnose_button")
    window.close()
    assert window.isVisible()
    assert words in question(window).text()
    assert not find(window, "close_keep_button").isVisible()
    click(window, "close_stay_button")
    assert window.session.state.is_busy
    window.close()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_cancel_button")
    assert not psutil.Process().children(recursive=True)


def test_the_question_about_a_diagnosis_goes_away_with_it(qtbot, make_window):
    window = make_window("--pause", "0.03")
    load_and_wait(qtbot, window)
    click(window, "target_diagnose_button")
    window.close()
    qtbot.waitUntil(lambda: not window.session.state.is_busy, timeout=TIMEOUT_MS)
    assert not question(window).isVisible()
    assert window.isVisible()


@pytest.fixture
def downloading(qtbot, make_window, tmp_path, monkeypatch):
    """Begins a download and closes the window in it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))

    def begin(source):
        window = make_window("--pause", "0.1")
        window.choose_model(source)
        click(window, "download_button")
        assert window.session.state.download.is_open
        window.close()
        return window

    return begin


def test_a_download_may_be_left_and_resumed_later(qtbot, downloading):
    window = downloading("hf://someone/tiny")
    assert "being downloaded" in question(window).text()
    assert "resumed later" in question(window).informativeText()
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_cancel_button")
    assert not psutil.Process().children(recursive=True)


def test_a_download_is_waited_for(qtbot, downloading):
    window = downloading("hf://someone/tiny")
    with qtbot.waitSignal(window.closed, timeout=TIMEOUT_MS):
        click(window, "close_keep_button")
        assert window.isVisible()
    assert window.session.state.download.downloaded is not None


def test_a_download_that_was_waited_for_and_fails_is_shown(qtbot, downloading):
    window = downloading("hf://someone/gated")
    click(window, "close_keep_button")
    session = window.session
    qtbot.waitUntil(lambda: not session.state.download.is_open, timeout=TIMEOUT_MS)
    assert window.isVisible()
