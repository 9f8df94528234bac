"""Windows over a fake engine, and how tests find and await things in them."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace

from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.client import EngineProcess
from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.base.settings import Settings
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.window.main_window import MainWindow
from tests.helpers.configs import pruning_config

QUICK = RunConfig(
    calibration=CalibrationConfig(windows=8, validation_windows=4, window_length=64),
    pruning=pruning_config(sparsity=0.3, shots=3),
)
# So many shots that no run comes to its end by itself while a test looks at it.
LONG = replace(QUICK, pruning=replace(QUICK.pruning, shots=50))
TIMEOUT_MS = 20_000


def fake_client(*options):
    """What makes a link to a fake engine with these options."""
    command = (sys.executable, "-m", "tests.helpers.fake_engine", *options)
    return functools.partial(EngineProcess, command)


def open_window(runs, *options, cancel_timeout_s=5.0):
    """A window that is shown, over a fake engine that has been started."""
    engine = EngineThread(fake_client(*options), cancel_timeout_s)
    engine.start()
    window = MainWindow(engine, Settings(), runs)
    window.engine_of_test = engine
    window.resize(1280, 720)
    window.show()
    return window


def closed(window):
    """Close a window whatever it is doing, and delete it."""
    window.engine_of_test.shut_down()
    window.hide()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def find(window, name, kind=QWidget):
    """The one widget of that name."""
    found = window.findChild(kind, name)
    assert found is not None, name
    return found


def click(window, name):
    """Press the button of that name, which must be in use."""
    button = find(window, name)
    assert button.isEnabled(), name
    button.click()


def run_of(window):
    """The state of the window's run."""
    return window.session.state.run


def load_and_wait(qtbot, window, config=QUICK):
    """Load a job and wait until it can be started."""
    window.load_config(config)
    can_start = functools.partial(_can_start, window)
    qtbot.waitUntil(can_start, timeout=TIMEOUT_MS)


def wait_for_status(qtbot, window, status):
    """Wait until the run has that status."""
    qtbot.waitUntil(lambda: run_of(window).status is status, timeout=TIMEOUT_MS)


def _can_start(window):
    return not window.session.start_obstacle()
