"""Make the pictures of the user guide: `make screenshots`.

Drives the real window with the real engine and the bundled demo on Qt's offscreen
platform, whose size and fonts are the same everywhere. Writes docs/pictures/NAME.png,
and NAME-dark.png for some pictures. Takes about three minutes. `--only NAME` writes
only some pictures, but runs the whole demo.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication, QDialog, QWidget

    from surgeon_gui.window.main_window import MainWindow

PICTURES = Path(__file__).parent / "pictures"
SIZE = (1280, 800)
_TIMEOUT_S = 600.0
_MAX_COMPRESSION = 0  # "quality" of a PNG file
_PAUSE_S = 0.02
_EVENT_LOOPS = 20  # until the window has settled


class Studio:
    """A window and methods that operate and picture it."""

    def __init__(self, application: QApplication, window: MainWindow) -> None:
        self._application = application
        self.window = window
        self.only: set[str] = set()

    def settle(self) -> None:
        """Process events until layouts and charts have settled."""
        for _ in range(_EVENT_LOOPS):
            self._application.processEvents()
            time.sleep(_PAUSE_S)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Process events until `condition` holds.

        Raises:
            TimeoutError: It does not hold within ten minutes.
        """
        end = time.monotonic() + _TIMEOUT_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError
            self._application.processEvents()
            time.sleep(_PAUSE_S)

    def picture(self, name: str, widget: QWidget | None = None) -> None:
        """Write a picture of the window, or of a dialog."""
        from PySide6.QtGui import QImage

        if self.only and name.removesuffix("-dark") not in self.only:
            return
        self.settle()
        path = PICTURES / f"{name}.png"
        image = (widget or self.window).grab().toImage()
        opaque = image.convertToFormat(QImage.Format.Format_RGB888)
        if not opaque.save(str(path), quality=_MAX_COMPRESSION):
            raise OSError(f"cannot write {path}")
        _print(str(path))

    def in_both_themes(self, name: str) -> None:
        """Write a picture in the light theme and one in the dark."""
        from surgeon_gui.base.settings import ThemeChoice
        from surgeon_gui.base.theme import apply_theme

        self.picture(name)
        apply_theme(self._application, ThemeChoice.DARK)
        self.picture(f"{name}-dark")
        apply_theme(self._application, ThemeChoice.LIGHT)

    def click(self, name: str) -> None:
        """Click the button called `name` once it is enabled."""
        from PySide6.QtWidgets import QAbstractButton

        button = self.window.findChild(QAbstractButton, name)
        assert button is not None, name
        self.wait_until(button.isEnabled)
        button.click()

    def trigger(self, name: str) -> None:
        """Trigger the action called `name`."""
        from PySide6.QtGui import QAction

        action = self.window.findChild(QAction, name)
        assert action is not None, name
        action.trigger()
        self.settle()

    def dialog(self, action: str, name: str) -> None:
        """Open a dialog by its action, picture it, close it."""
        from PySide6.QtWidgets import QDialog

        self.trigger(action)
        dialogs = [d for d in self.window.findChildren(QDialog) if d.isVisible()]
        shown: QDialog = dialogs[-1]
        self.picture(name, shown)
        shown.reject()
        self.settle()


def main() -> int:
    """Write the pictures and return 0."""
    parser = argparse.ArgumentParser(description="Make the pictures of the guide.")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--language", default="en")
    options = parser.parse_args()
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from surgeon_gui.base import languages

    languages.choose(options.language)
    from surgeon_gui.app import make_application
    from surgeon_gui.base.settings import Settings, ThemeChoice
    from surgeon_gui.base.theme import apply_theme
    from surgeon_gui.controllers.engine_thread import EngineThread
    from surgeon_gui.text import labels
    from surgeon_gui.window.main_window import MainWindow

    labels.name_settings()
    application = make_application(sys.argv[:1])
    # The platform warns of what it cannot do, which no user sees.
    logging.getLogger("qt").setLevel(logging.ERROR)
    apply_theme(application, ThemeChoice.LIGHT)
    PICTURES.mkdir(exist_ok=True)
    runs = Path(tempfile.gettempdir()) / "surgeon" / "runs"  # visible in pictures
    shutil.rmtree(runs.parent, ignore_errors=True)
    engine = EngineThread()
    engine.start()
    window = MainWindow(engine, Settings(theme=ThemeChoice.LIGHT), runs)
    window.resize(*SIZE)
    window.show()
    studio = Studio(application, window)
    studio.only = set(options.only)
    try:
        take_all(studio)
    finally:
        engine.shut_down()
        shutil.rmtree(runs.parent, ignore_errors=True)
    return 0


def take_all(studio: Studio) -> None:
    """Make all pictures, in the order of the guide."""
    from surgeon_engine.api.config.run import RunConfig
    from surgeon_gui.state.app import Engine

    window, session = studio.window, studio.window.session
    studio.wait_until(lambda: session.state.engine is Engine.READY)
    studio.picture("first")
    studio.click("empty_demo_button")
    studio.wait_until(lambda: not session.start_obstacle())
    window.session.draft.load(RunConfig())
    studio.wait_until(lambda: not session.start_obstacle())
    take_new(studio)
    take_run(studio)
    take_result(studio)
    take_playground(studio)
    take_runs(studio)
    take_help(studio)
    take_queue(studio)


def take_new(studio: Studio) -> None:
    """Picture the page New, the sections of Expert, and a measured model."""
    from surgeon_gui.text.problems import Step

    window, diagnosis = studio.window, studio.window.new.diagnosis
    studio.picture("new")
    window.new.open_expert(Step.TARGET)
    studio.picture("expert")
    studio.click("expert_close_button")
    studio.wait_until(lambda: diagnosis.obstacle is None)
    studio.click("diagnose_button")
    studio.wait_until(lambda: diagnosis.plan is not None)
    studio.click("model_details_button")
    studio.picture("details")
    studio.click("details_back_button")


def take_run(studio: Studio) -> None:
    """Start a run, picture it and wait for its end."""
    session = studio.window.session
    studio.click("start_button")
    studio.wait_until(lambda: len(session.state.run.history) >= 1)
    studio.in_both_themes("running")
    studio.wait_until(lambda: not session.state.run.status.is_busy)
    if session.state.run.result is None:
        raise RuntimeError(str(session.state.run.error))


def take_result(studio: Studio) -> None:
    """Picture the verdict on the result."""
    studio.picture("done")


def take_playground(studio: Studio) -> None:
    """Picture the texts of both models for the same prompt."""
    window = studio.window
    studio.trigger("go_playground_action")
    playground = window._playground
    playground.edit_prompt("The import statement")
    studio.click("playground_generate_button")
    studio.wait_until(lambda: playground.state.question.is_open)
    studio.wait_until(lambda: not playground.state.question.is_open)
    studio.picture("playground")


def take_runs(studio: Studio) -> None:
    """Run a second, smaller job; picture the list of runs and the comparison."""
    from dataclasses import replace

    window, session = studio.window, studio.window.session
    pruning = replace(session.state.config.pruning, sparsity=0.2, shots=2)
    session.draft.edit_part(pruning)
    studio.wait_until(lambda: not session.start_obstacle())
    studio.trigger("start_action")
    studio.wait_until(lambda: not session.state.run.status.is_busy)
    runs = window.runs.runs
    window.runs.show_home()
    studio.wait_until(lambda: len(runs.state.records) == 2)
    studio.picture("runs")
    for record in runs.state.records:
        runs.tick(record.folder, True)
    studio.click("runs_compare_button")
    studio.settle()
    studio.picture("compare")


def take_help(studio: Studio) -> None:
    """Picture the log and the list of commands."""
    studio.dialog("log_action", "log")
    studio.dialog("commands_action", "commands")


def take_queue(studio: Studio) -> None:
    """Let a sweep of short runs wait and run, and picture the queue at its end."""
    from surgeon_engine.api.config.calibration import CalibrationConfig
    from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
    from surgeon_engine.api.config.run import RunConfig

    window, queue = studio.window, studio.window.runs.queue.controller
    calibration = CalibrationConfig(windows=16, window_length=64)
    recovery = RecoveryConfig(level=Recovery.REFIT)
    window.session.draft.load(RunConfig(calibration=calibration, recovery=recovery))
    studio.wait_until(lambda: not window.session.start_obstacle())
    studio.trigger("sweep_action")
    studio.click("sweep_add_button")
    window.runs.show_home()
    studio.click("queue_start_button")
    studio.wait_until(lambda: queue.state.is_complete)
    studio.settle()  # the window shows the comparison of the runs
    window.runs.show_home()
    studio.picture("queue")


def _print(message: str) -> None:
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
