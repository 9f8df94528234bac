"""Closing the window in a run asks, and leaves no process behind."""

from __future__ import annotations

import psutil
import pytest
from PySide6.QtWidgets import QMessageBox

from surgeon_gui.run_state import Status
from tests.helpers.windows import (
    PATIENCE_MS,
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
    with qtbot.waitSignal(window.closed, timeout=PATIENCE_MS):
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
    with qtbot.waitSignal(running.closed, timeout=PATIENCE_MS):
        click(running, "close_cancel_button")
    assert not running.isVisible()
    assert not psutil.Process().children(recursive=True)


def test_stop_and_keep_waits_for_the_export_and_then_closes(qtbot, running):
    running.close()
    with qtbot.waitSignal(running.closed, timeout=PATIENCE_MS):
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
    with qtbot.waitSignal(window.closed, timeout=PATIENCE_MS):
        click(window, "close_cancel_button")
    assert not psutil.Process().children(recursive=True)
