"""Fixtures: windows before and after a run, and a session without a window."""

import pytest
from PySide6.QtWidgets import QMainWindow

from surgeon_gui.controllers.session import Session
from surgeon_gui.state.run import Status
from surgeon_gui.state.sources import samples
from surgeon_gui.state.sources import text as source_text
from surgeon_gui.text.problems import Step
from surgeon_gui.views.new import model_card
from surgeon_gui.window.menus import Menus
from tests.helpers.exports import write_export
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    load_and_wait,
    open_step,
    run_until,
)


class FakeThread:
    """An engine thread without an engine: records commands, delivers events."""

    def __init__(self):
        self.commands = []

    def listen(self, slot):
        self.deliver = slot

    def send(self, command):
        self.commands.append(command)


@pytest.fixture
def engine():
    """Return an engine thread without an engine."""
    return FakeThread()


@pytest.fixture
def session(qapp, engine, tmp_path):
    """Return a session without a window.

    The application owns it: its timers must not be freed in a background thread.
    """
    session = Session(engine, tmp_path, qapp)
    yield session
    session.deleteLater()


@pytest.fixture
def actions(qtbot):
    """Return the actions of the menus of a window."""
    window = QMainWindow()
    qtbot.addWidget(window)
    menus = Menus(window)
    for each in menus.actions.values():
        each.window = window  # it lives as long as its actions
    return menus.actions


@pytest.fixture
def export_page(qtbot, window):
    """Return a window with the section Export open, before a run."""
    load_and_wait(qtbot, window)
    open_step(window, Step.EXPORT)
    return window


@pytest.fixture
def make_finished(qtbot, make_window):
    """Return a factory of windows that show a finished run."""

    def make(*options, config=QUICK):
        window = make_window(*options)
        run_until(qtbot, window, Status.FINISHED, config)
        window.runs.show_run()
        return window

    return make


@pytest.fixture
def wait_until_idle(qtbot):
    """Return a function that waits until the engine is idle."""

    def wait(window):
        def is_idle():
            return not window.session.state.is_busy

        qtbot.waitUntil(is_idle, timeout=TIMEOUT_MS)

    return wait


@pytest.fixture
def occupied(tmp_path):
    """Return the folder of an earlier export."""
    return write_export(tmp_path / "occupied")


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """Install a fake sample model and return its path."""
    path = tmp_path / "SmolLM2.gguf"
    path.write_bytes(b"GGUF")
    for module in (samples, source_text, model_card):
        monkeypatch.setattr(module, "smollm2", lambda: str(path))
    return str(path)
