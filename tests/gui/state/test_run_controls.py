"""The controls of a run in each status, in the action strip and the menu."""

from __future__ import annotations

import time

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMainWindow, QPushButton

from surgeon_engine.api.messages.run import Stage
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.run_controls import run_controls
from surgeon_gui.window.action_strip import ActionStrip
from surgeon_gui.window.menus import Menus
from tests.helpers.windows import find

ON, OFF = True, False
# status: Start (without another obstacle), Pause, Stop and keep, Cancel
APPEARANCE = {
    Status.IDLE: (
        ("Start", ON),
        ("Pause", OFF),
        ("Stop and keep", OFF),
        ("Cancel", OFF),
    ),
    Status.STARTING: (
        ("Start", OFF),
        ("Pause", ON),
        ("Stop and keep", ON),
        ("Cancel", ON),
    ),
    Status.RUNNING: (
        ("Start", OFF),
        ("Pause", ON),
        ("Stop and keep", ON),
        ("Cancel", ON),
    ),
    Status.PAUSING: (
        ("Start", OFF),
        ("Pausing…", OFF),
        ("Stop and keep", ON),
        ("Cancel", ON),
    ),
    Status.PAUSED: (
        ("Start", OFF),
        ("Resume", ON),
        ("Stop and keep", ON),
        ("Cancel", ON),
    ),
    Status.STOPPING: (
        ("Start", OFF),
        ("Pause", OFF),
        ("Stopping…", OFF),
        ("Cancel", ON),
    ),
    Status.CANCELLING: (
        ("Start", OFF),
        ("Pause", OFF),
        ("Stop and keep", OFF),
        ("Cancelling…", OFF),
    ),
}
NOT_BUSY = APPEARANCE[Status.IDLE]
APPEARANCE |= {
    Status.FINISHED: NOT_BUSY,
    Status.FAILED: NOT_BUSY,
    Status.CANCELLED: NOT_BUSY,
    Status.INTERRUPTED: NOT_BUSY,
}
NAMES = ("start", "pause", "stop", "cancel")


def controls_of(status, **more):
    run = RunState(status=status, **more)
    return run_controls(run, "A run is in progress." if status.is_busy else "", "")


def test_table_has_every_status():
    assert set(APPEARANCE) == set(Status)


@pytest.mark.parametrize("status", Status)
def test_controls_depend_on_the_status(status):
    controls = controls_of(status)
    views = (getattr(controls, name) for name in NAMES)
    appearance = tuple((view.label.replace("&", ""), view.is_enabled) for view in views)
    assert appearance == APPEARANCE[status]


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


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("status", Status)
def test_strip_shows_controls_after_any_other_status(qtbot, before, status):
    window = QMainWindow()
    strip = ActionStrip(Menus(window).actions)
    window.setCentralWidget(strip)
    qtbot.addWidget(window)
    for each in (before, status):
        run = RunState(status=each, began=time.time())
        strip.show_run(run, "", controls_of(each), time.time())
    for name, (label, is_enabled) in zip(NAMES, APPEARANCE[status], strict=True):
        button = find(strip, f"{name}_button", QPushButton)
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
        for name, (label, is_enabled) in zip(NAMES, APPEARANCE[status], strict=True):
            action = window.findChild(QAction, f"{name}_action")
            assert action.text().replace("&", "") == label
            assert action.isEnabled() is is_enabled
