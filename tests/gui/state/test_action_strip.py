"""The controls of a run in each status, and the engine's other task."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMainWindow, QPushButton

from surgeon_engine.api.messages.run import Progressed, Stage, StageStarted
from surgeon_gui.state.action_strip import active_task, run_controls
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.views.run.head import RunHead
from surgeon_gui.window.menus import Menus
from tests.helpers.windows import TIMEOUT_MS, click, find, load_and_wait

NOT_BUSY = ("Start", "(Pause)", "(Finish here)", "(Cancel…)")
IN_PROGRESS = ("(Start)", "Pause", "Finish here", "Cancel…")
# status: Start (without another obstacle), Pause, Finish here, Cancel; in brackets
# what is disabled
APPEARANCE = dict.fromkeys(Status, NOT_BUSY) | {
    Status.STARTING: IN_PROGRESS,
    Status.RUNNING: IN_PROGRESS,
    Status.PAUSING: ("(Start)", "(Pausing…)", "Finish here", "Cancel…"),
    Status.PAUSED: ("(Start)", "Resume", "Finish here", "Cancel…"),
    Status.STOPPING: ("(Start)", "(Pause)", "(Finishing…)", "Cancel…"),
    Status.CANCELLING: ("(Start)", "(Pause)", "(Finish here)", "(Canceling…)"),
}
NAMES = ("start", "pause", "stop", "cancel")


def appearance(status):
    """Return name, label and whether it is enabled of each control."""
    for name, label in zip(NAMES, APPEARANCE[status], strict=True):
        yield name, label.strip("()"), "(" not in label


def controls_of(status, **more):
    run = RunState(status=status, **more)
    return run_controls(run, "A run is in progress." if status.is_busy else "", "")


@pytest.mark.parametrize("status", Status)
def test_controls_depend_on_the_status(status):
    controls = controls_of(status)
    views = [getattr(controls, name) for name in NAMES]
    assert [(view.label.replace("&", ""), view.is_enabled) for view in views] == [
        (label, is_enabled) for _, label, is_enabled in appearance(status)
    ]


@pytest.mark.parametrize("stage", [Stage.EXPORT, Stage.VERIFICATION])
def test_stop_is_disabled_during_the_export(stage):
    assert not controls_of(Status.RUNNING, stage=stage).stop.is_enabled
    assert controls_of(Status.RUNNING, stage=Stage.CURVATURE).stop.is_enabled


def test_start_shows_its_obstacle():
    controls = run_controls(RunState(), "Choose a model to begin.", "Choose a model.")
    assert not controls.start.is_enabled
    assert controls.start.tip == "Choose a model to begin."
    assert not controls.queue_add.is_enabled
    assert controls.queue_add.tip == "Choose a model."


@pytest.mark.parametrize("status", Status)
def test_page_shows_controls_after_any_other_status(qtbot, status):
    head = RunHead()
    qtbot.addWidget(head)
    for before in Status:
        for each in (before, status):
            run = RunState(status=each, began=time.time())
            head.show_state(AppState(run=run), time.time())
        for name, label, is_enabled in appearance(status):
            if name == "start":
                continue
            button = find(head, f"{name}_button", QPushButton)
            assert button.text().replace("&", "") == label
            assert button.accessibleName() == label.removesuffix("…")
            assert button.isEnabled() is is_enabled
            assert button.toolTip()


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


@pytest.mark.parametrize(
    ("kind", "stage", "label"),
    [
        (RequestKind.DIAGNOSIS, Stage.CURVATURE, "Diagnosis: "),
        (RequestKind.SAVE, Stage.EXPORT, "Saving in another format: "),
        (RequestKind.MEASUREMENT, Stage.MEASUREMENT, "Measuring speed and memory, "),
    ],
)
def test_active_task_has_a_label_and_a_growing_share(kind, stage, label):
    def task_of(request):
        return active_task(AppState(requests={kind: request}))

    request = Request("it").with_event(StageStarted(stage, 0))
    started = task_of(request)
    request = request.with_event(Progressed(stage, 0, 3, 8))
    further = task_of(request)
    assert further.label.startswith(label)
    assert further.label.endswith("4 of 8")
    assert (started.share or 0.0) < further.share < 1
    assert task_of(request.cancelling()).label.lower().endswith("cancelling…")
    assert task_of(replace(request, is_cancelled=True)) is None


def test_share_of_a_task_that_loads_its_model_is_not_known():
    loading = Request("it").with_event(StageStarted(Stage.MEASUREMENT, 0))
    task = active_task(AppState(requests={RequestKind.MEASUREMENT: loading}))
    assert task.share is None
    assert task.label == "Measuring speed and memory"


def test_action_strip_shows_the_task_until_it_ends(qtbot, make_window):
    window = make_window("--pause", "0.03")
    load_and_wait(qtbot, window)
    click(window, "target_diagnose_button")
    bar = find(window, "progress_bar")
    qtbot.waitUntil(lambda: bar.value() > 0, timeout=TIMEOUT_MS)
    assert find(window, "phase_label").text().startswith("Diagnosis: ")
    qtbot.waitUntil(lambda: not window.session.state.is_busy, timeout=TIMEOUT_MS)
    assert find(window, "phase_label").text() == ""
    assert bar.value() == 0
