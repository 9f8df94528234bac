"""A run can be paused, resumed, stopped and cancelled; its clock stops meanwhile."""

from __future__ import annotations

import psutil
import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMessageBox

from surgeon_gui.state.run import Status
from tests.helpers.windows import (
    TIMEOUT_MS,
    click,
    find,
    load_and_wait,
    run_of,
    wait_for_status,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def paused(qtbot, make_window):
    window = make_window("--pause", "0.02")
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.RUNNING)
    click(window, "pause_button")
    assert run_of(window).status is Status.PAUSING
    wait_for_status(qtbot, window, Status.PAUSED)
    return window


def test_paused_run_stops_its_clock_and_shows_its_status(qtbot, paused):
    run = run_of(paused)
    assert run.seconds(now=1e12) == run.seconds(now=2e12)
    assert run.remaining_seconds(1e12) == run.remaining_seconds(2e12)
    assert find(paused, "phase_label").text().startswith("Paused. ")
    assert find(paused, "time_note").text() == "paused"
    assert find(paused, "step_run_header").view.summary.startswith("Paused at")
    assert "Paused." in find(paused, "log_text").toPlainText()


def test_resumed_run_finishes(qtbot, paused):
    click(paused, "pause_button")
    wait_for_status(qtbot, paused, Status.FINISHED)
    run = run_of(paused)
    assert not run.result.stopped_early
    assert run.paused_seconds > 0
    assert "Resumed." in find(paused, "log_text").toPlainText()


@pytest.mark.thorough
def test_menu_action_pauses_and_resumes(qtbot, paused):
    action = paused.findChild(QAction, "pause_action")
    assert action.text() == "Resu&me"
    action.trigger()
    qtbot.waitUntil(lambda: run_of(paused).paused_at is None, timeout=TIMEOUT_MS)
    action.trigger()
    wait_for_status(qtbot, paused, Status.PAUSED)


def test_paused_run_can_be_cancelled(qtbot, paused):
    click(paused, "cancel_button")
    wait_for_status(qtbot, paused, Status.CANCELLED)
    assert run_of(paused).exported is None


@pytest.mark.thorough
def test_stop_and_keep_of_a_paused_run_finishes_its_shot(qtbot, paused):
    click(paused, "stop_button")
    assert run_of(paused).status is Status.STOPPING
    wait_for_status(qtbot, paused, Status.FINISHED)
    assert run_of(paused).result.stopped_early
    assert run_of(paused).exported is not None


def test_close_asks_about_a_paused_run(paused):
    paused.close()
    question = find(paused, "close_question", QMessageBox)
    assert "paused" in question.text()
    click(paused, "close_stay_button")
    assert run_of(paused).status is Status.PAUSED


@pytest.mark.thorough
def test_close_can_stop_and_keep_a_paused_run(qtbot, paused):
    paused.close()
    with qtbot.waitSignal(paused.closed, timeout=TIMEOUT_MS):
        click(paused, "close_keep_button")
    assert run_of(paused).exported is not None


@pytest.mark.thorough
def test_close_can_cancel_a_paused_run(qtbot, paused):
    paused.close()
    with qtbot.waitSignal(paused.closed, timeout=TIMEOUT_MS):
        click(paused, "close_cancel_button")
    assert not psutil.Process().children(recursive=True)
