"""The controls of a run in each status."""

from dataclasses import replace

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMainWindow

from surgeon_engine.api.messages.run import Stage
from surgeon_gui.state.action_strip import queue_control, run_controls
from surgeon_gui.state.queue.state import QueueState, QueueStatus
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.window.menus import Menus
from tests.helpers.fake_engine import shot_finished
from tests.helpers.queued_runs import queued

HISTORY = (shot_finished(1, 2, 0.3),)  # without it, there is nothing to keep
NOT_BUSY = ("(Pause)", "(Finish here)", "(Cancel…)")
IN_PROGRESS = ("Pause", "Finish here", "Cancel…")
# status: Pause, Finish here, Cancel; in brackets if disabled
APPEARANCE = dict.fromkeys(Status, NOT_BUSY) | {
    Status.STARTING: IN_PROGRESS,
    Status.RUNNING: IN_PROGRESS,
    Status.PAUSING: ("(Pausing…)", "Finish here", "Cancel…"),
    Status.PAUSED: ("Resume", "Finish here", "Cancel…"),
    Status.STOPPING: ("(Pause)", "(Finishing…)", "Cancel…"),
    Status.CANCELLING: ("(Pause)", "(Finish here)", "(Canceling…)"),
}
NAMES = ("pause", "stop", "cancel")


def appearance(status):
    """Return name, label and whether it is enabled of each control."""
    for name, label in zip(NAMES, APPEARANCE[status], strict=True):
        yield name, label.strip("()"), "(" not in label


def controls_of(status, **more):
    return run_controls(RunState(status=status, **{"history": HISTORY} | more))


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED])
def test_pause_and_resume_wait_for_an_engine_that_watches_the_run(status):
    run = RunState(status=status, history=HISTORY)
    heard, behind = run_controls(run), run_controls(run, is_behind=True)
    assert heard["pause"].is_enabled and not behind["pause"].is_enabled
    assert behind["pause"].label == heard["pause"].label
    assert behind["cancel"] == heard["cancel"]


@pytest.mark.parametrize("status", [Status.STARTING, Status.RUNNING, Status.PAUSED])
def test_stop_is_disabled_until_something_is_removed(status):
    stop = controls_of(status, stage=Stage.CURVATURE, history=())["stop"]
    assert not stop.is_enabled
    assert stop.tip == "Nothing has been removed yet."
    assert controls_of(status)["stop"].tip == CAPTIONS["stop_button"].tip


@pytest.mark.parametrize("stage", [Stage.EXPORT, Stage.VERIFICATION])
def test_stop_is_disabled_during_the_export(stage):
    stop = controls_of(Status.RUNNING, stage=stage)["stop"]
    assert not stop.is_enabled
    assert stop.tip == "The result is being written already."
    assert controls_of(Status.RUNNING, stage=Stage.CURVATURE)["stop"].is_enabled


@pytest.mark.parametrize("is_working", [False, True])
def test_queue_can_be_started_and_stopped_only_while_a_run_waits(is_working):
    first, second = queued("one", "two")
    running = replace(first, status=QueueStatus.RUNNING)
    waits = queue_control(QueueState((running, second), is_working=is_working))
    alone = queue_control(QueueState((running,), is_working=is_working))
    assert (waits.is_enabled, alone.is_enabled) == (True, False)
    assert waits.label == alone.label
    assert alone.tip not in ("", waits.tip)


def test_menu_shows_controls(qtbot):
    window = QMainWindow()
    qtbot.addWidget(window)
    menus = Menus(window)
    assert window.findChild(QAction, "pause_action").shortcut().toString() == "Ctrl+P"
    for status in Status:
        menus.show_controls(controls_of(status))
        for name, label, is_enabled in appearance(status):
            action = window.findChild(QAction, f"{name}_action")
            assert action.text().replace("&", "") == label
            assert action.isEnabled() is is_enabled
