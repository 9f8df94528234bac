"""Windows with a fake engine, and functions that find and await things in them."""

import functools
import queue
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from PySide6.QtCore import QCoreApplication, QEvent, QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QAction, QDropEvent
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.client import EngineProcess, EngineThreadClient
from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.commands import Command
from surgeon_engine.api.messages.events import Envelope
from surgeon_gui.base.settings import Settings
from surgeon_gui.controllers.computers import client_of
from surgeon_gui.controllers.diagnosis import Diagnosis
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.window.main_window import MainWindow
from surgeon_gui.window.places import Place
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import FakeEngine, parse_options

QUICK = RunConfig(
    calibration=CalibrationConfig(windows=8, validation_windows=4, window_length=64),
    pruning=pruning_config(sparsity=0.3, shots=3),
)
# Enough shots that a run does not finish during a test.
LONG = replace(QUICK, pruning=replace(QUICK.pruning, shots=50))
TIMEOUT_MS = 20_000


NEEDS_PROCESS = {"crash", "hang", "--no-start", "--flood-seconds"}


def fake_client(*options):
    """Return a factory of clients of a fake engine with these options.

    The engine runs in a thread, or in a process if it has to crash, hang or use its own
    processor.
    """
    if NEEDS_PROCESS.intersection(options):
        return fake_process(*options)
    make_engine = functools.partial(ThreadedFakeEngine, options)
    return functools.partial(EngineThreadClient, make_engine)


def fake_process(*options):
    """Return a factory of clients of a fake engine in a process of its own."""
    command = (sys.executable, "-m", "tests.helpers.fake_engine", *options)
    return functools.partial(EngineProcess, command)


def open_window(runs, *options, cancel_timeout_s=5.0, settings=None):
    """Open a window with a running fake engine."""
    engine = EngineThread(fake_client(*options), cancel_timeout_s)
    return _opened(engine, settings or Settings(), runs)


def open_remote_window(runs, host, command, make_client=None):
    """Open a window that uses another computer; `make_client`: of this one's engine."""
    settings = Settings(computers=[f"{host}\t{command}"], computer=host)
    engine = EngineThread(make_client or fake_client(), first=client_of(settings))
    return _opened(engine, settings, runs)


def open_real_window(runs):
    """Open a window with the real engine."""
    return _opened(EngineThread(), Settings(), runs)


def _opened(engine, settings, runs):
    engine.start()
    window = MainWindow(engine, settings, runs)
    window.test_engine = engine
    window.resize(1280, 720)
    window.show()
    return window


def close_window(window):
    """Close a window in any state and delete it."""
    window.test_engine.shut_down()
    window.hide()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def find(window, name, kind=QWidget):
    """Return the only child called `name`."""
    found = window.findChild(kind, name)
    assert found is not None, name
    return found


def find_type(window, kind):
    """Return the only child of the type `kind`."""
    (found,) = window.findChildren(kind)
    return found


def open_step(window, step):
    """Open the section of a step in the drawer Expert."""
    window.places.open(Place.NEW)
    window.new.open_expert(step)


def click(window, name):
    """Click the button called `name`, which must be enabled."""
    button = find(window, name)
    assert button.isEnabled(), name
    button.click()


def trigger(window, name):
    """Trigger the menu action called `name`, which must be enabled."""
    action = find(window, name, QAction)
    assert action.isEnabled(), name
    action.trigger()


def drop(window, *paths):
    """Drop files on the window."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    none = Qt.KeyboardModifier.NoModifier
    window.dropEvent(QDropEvent(QPointF(400, 300), copy, data, left, none))


def cancel_run(window):
    """Cancel the run by its menu, and confirm it."""
    trigger(window, "cancel_action")
    click(window, "cancel_yes_button")


def open_place(window, name):
    """Open a place by its entry in the View menu: "new", "runs" or "playground"."""
    find(window, f"go_{name}_action", QAction).trigger()


def start(window):
    """Start a run by the button of the page New."""
    open_place(window, "new")
    click(window, "start_button")


def open_details(window):
    """Open all about the model of the draft."""
    open_place(window, "new")
    click(window, "model_details_button")


def commands_of(window, monkeypatch):
    """Return a list to which the commands of the window are added as it sends them."""
    sent, send = [], window.session.store.send

    def remember_and_send(command):
        sent.append(command)
        send(command)

    monkeypatch.setattr(window.session.store, "send", remember_and_send)
    return sent


def run_of(window):
    """Return the state of the run in progress, or in view."""
    return window.session.state.active_run


def pruning_of(window):
    """Return the pruning settings of the window's job."""
    return window.session.state.config.pruning


def diagnosis_of(window):
    """Return the controller of the window's diagnosis."""
    return find_type(window, Diagnosis)


def load_and_wait(qtbot, window, config=QUICK):
    """Load a job and wait until it can be started."""
    window.session.draft.load(config)
    can_start = functools.partial(_can_start, window)
    qtbot.waitUntil(can_start, timeout=TIMEOUT_MS)


def wait_for_status(qtbot, window, status):
    """Wait until the run has that status."""
    qtbot.waitUntil(lambda: run_of(window).status is status, timeout=TIMEOUT_MS)


def wait_until(qtbot, condition):
    """Wait until `condition` returns a true value."""
    qtbot.waitUntil(lambda: bool(condition()), timeout=TIMEOUT_MS)


def run_until(qtbot, window, status, config=QUICK):
    """Load a job, start a run, and wait until it has that status."""
    load_and_wait(qtbot, window, config)
    window.start_run()
    wait_for_status(qtbot, window, status)


def _can_start(window):
    return not window.session.start_obstacle()


class ThreadedFakeEngine:
    """A fake engine for an `EngineThreadClient`."""

    def __init__(
        self, options: Sequence[str], send: Callable[[Envelope], None]
    ) -> None:
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        commands = iter(self._commands.get, None)
        self.serve = FakeEngine(parse_options(options), commands, send).serve
        self.handle = self._commands.put

    def stop(self) -> None:
        """End the commands."""
        self._commands.put(None)
