"""A run can be paused, resumed, stopped and cancelled; its clock stops meanwhile."""

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMessageBox

from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.run import Status
from tests.helpers.windows import (
    LONG,
    click,
    find,
    find_type,
    run_of,
    run_until,
    trigger,
    wait_for_status,
    wait_until,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def paused(qtbot, make_window):
    window = make_window("--pause", "0.01")
    run_until(qtbot, window, Status.RUNNING)
    trigger(window, "pause_action")
    assert run_of(window).status is Status.PAUSING
    wait_for_status(qtbot, window, Status.PAUSED)
    return window


def test_pause_is_seen_in_another_window(qtbot, make_window):
    window = make_window("--pause", "0.03")
    run_until(qtbot, window, Status.RUNNING, LONG)
    other = make_window()
    find_type(other, RunsController).reopen(run_of(window).folder)
    wait_for_status(qtbot, other, Status.RUNNING)
    trigger(window, "pause_action")
    wait_for_status(qtbot, other, Status.PAUSED)
    wait_for_status(qtbot, window, Status.PAUSED)
    assert find(other, "pause_button").text() == find(window, "pause_button").text()
    trigger(window, "pause_action")
    wait_for_status(qtbot, other, Status.RUNNING)


def test_resumed_run_finishes(qtbot, paused):
    paused.close()
    assert find(paused, "close_question", QMessageBox).isVisible()
    click(paused, "close_stay_button")
    assert run_of(paused).status is Status.PAUSED
    action = paused.findChild(QAction, "pause_action")
    action.trigger()
    wait_until(qtbot, lambda: run_of(paused).paused_at is None)
    action.trigger()
    wait_for_status(qtbot, paused, Status.PAUSED)
    trigger(paused, "pause_action")
    wait_for_status(qtbot, paused, Status.FINISHED)
    run = run_of(paused)
    assert not run.result.stopped_early
    assert run.paused_seconds > 0
