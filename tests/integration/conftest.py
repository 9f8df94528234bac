"""A window with the real engine."""

from __future__ import annotations

import pytest

from surgeon_gui.base.settings import Settings
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.window.main_window import MainWindow
from tests.helpers.windows import close_window


@pytest.fixture
def real_window(qtbot, tmp_path):
    engine = EngineThread()
    engine.start()
    window = MainWindow(engine, Settings(), tmp_path / "runs")
    window.test_engine = engine
    window.resize(1280, 720)
    window.show()
    yield window
    close_window(window)
