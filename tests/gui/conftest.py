"""Windows at step 5, and waiting for what was asked for there."""

from __future__ import annotations

import pytest

from surgeon_gui.state.app import Step
from surgeon_gui.state.run import Status
from surgeon_gui.state.sources import samples
from surgeon_gui.views.steps import model_page
from surgeon_gui.window import empty_state
from tests.helpers.windows import QUICK, TIMEOUT_MS, load_and_wait, wait_for_status


@pytest.fixture
def export_page(qtbot, window):
    """A window with step 5 open, before a run."""
    load_and_wait(qtbot, window)
    window.open_step(Step.EXPORT)
    return window


@pytest.fixture
def make_finished(qtbot, make_window):
    """Makes windows with step 5 open after a run of a job."""

    def make(*options, config=QUICK):
        window = make_window(*options)
        load_and_wait(qtbot, window, config)
        window.start_run()
        wait_for_status(qtbot, window, Status.FINISHED)
        window.open_step(Step.EXPORT)
        return window

    return make


@pytest.fixture
def wait_until_idle(qtbot):
    """Waits until nothing is being saved or measured."""

    def wait(window):
        def check():
            return not window.session.state.is_busy

        qtbot.waitUntil(check, timeout=TIMEOUT_MS)

    return wait


@pytest.fixture
def occupied(tmp_path):
    folder = tmp_path / "occupied"
    folder.mkdir()
    (folder / "thesis.tex").touch()
    return folder


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A package of samples that is installed."""
    path = tmp_path / "SmolLM2.gguf"
    path.write_bytes(b"GGUF")
    for module in (samples, empty_state, model_page):
        monkeypatch.setattr(module, "smollm2", lambda: str(path))
    monkeypatch.setattr("surgeon_gui.window.main_window.smollm2", lambda: str(path))
    return str(path)
