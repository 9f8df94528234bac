"""Makes the pictures of the user guide: `make screenshots`.

Drives the real window with the real engine and the bundled demo, without a display, and
writes docs/pictures/NAME.png, and NAME-dark.png where the dark theme is shown too. Size
and fonts are those of Qt's offscreen platform: the same everywhere. Takes about two
minutes. `--only NAME` writes only some of them; the demo is run in any case.
"""

from __future__ import annotations

import argparse
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
_TIMEOUT_MS = 600.0  # seconds
_SMALLEST = 0  # the quality at which PNG files are compressed most
_PAUSE = 0.02
_TURNS = 20  # of the event loop, until the window has settled


class Studio:
    """A window, and the ways to picture it."""

    def __init__(self, application: QApplication, window: MainWindow) -> None:
        self._application = application
        self.window = window
        self.only: set[str] = set()

    def settle(self) -> None:
        """Let layouts and charts come to rest."""
        for _ in range(_TURNS):
            self._application.processEvents()
            time.sleep(_PAUSE)

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Let the window work until something is so."""
        end = time.monotonic() + _TIMEOUT_MS
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError("the window does not get there")
            self._application.processEvents()
            time.sleep(_PAUSE)

    def picture(self, name: str, widget: QWidget | None = None) -> None:
        """Write a picture of the window, or of a dialog."""
        from PySide6.QtGui import QImage

        if self.only and name.removesuffix("-dark") not in self.only:
            return
        self.settle()
        path = PICTURES / f"{name}.png"
        image = (widget or self.window).grab().toImage()
        opaque = image.convertToFormat(QImage.Format.Format_RGB888)
        if not opaque.save(str(path), quality=_SMALLEST):
            raise OSError(f"cannot write {path}")
        _say(str(path))

    def in_both_themes(self, name: str) -> None:
        """Write a picture in the light theme and one in the dark."""
        from surgeon_gui.base.settings import ThemeChoice
        from surgeon_gui.base.theme import apply_theme

        self.picture(name)
        apply_theme(self._application, ThemeChoice.DARK)
        self.picture(f"{name}-dark")
        apply_theme(self._application, ThemeChoice.LIGHT)

    def press(self, name: str) -> None:
        """Click the button of that name."""
        from PySide6.QtWidgets import QAbstractButton

        button = self.window.findChild(QAbstractButton, name)
        assert button is not None, name
        button.click()

    def act(self, name: str) -> None:
        """Choose the entry of a menu by its name."""
        from PySide6.QtGui import QAction

        action = self.window.findChild(QAction, name)
        assert action is not None, name
        action.trigger()
        self.settle()

    def dialog(self, action: str, name: str) -> None:
        """Open a dialog by its action, picture it, close it."""
        from PySide6.QtWidgets import QDialog

        self.act(action)
        dialogs = [d for d in self.window.findChildren(QDialog) if d.isVisible()]
        shown: QDialog = dialogs[-1]
        self.picture(name, shown)
        shown.reject()
        self.settle()


def main() -> int:
    """Write the pictures; 0 if all went well."""
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
    from surgeon_gui.window.main_window import MainWindow

    application = make_application(sys.argv[:1])
    apply_theme(application, ThemeChoice.LIGHT)
    PICTURES.mkdir(exist_ok=True)
    runs = Path(tempfile.gettempdir()) / "surgeon" / "runs"  # it stands in pictures
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
    """Everything that the guide shows, in the order of the guide."""
    from surgeon_engine.api.config.run import RunConfig
    from surgeon_gui.state.app import Engine

    window, session = studio.window, studio.window.session
    studio.wait(lambda: session.state.engine is Engine.READY)
    studio.picture("first")
    studio.press("empty_demo_button")
    studio.wait(lambda: not session.start_obstacle())
    window.load_config(RunConfig())
    studio.wait(lambda: not session.start_obstacle())
    take_steps(studio)
    take_run(studio)
    take_result(studio)
    take_playground(studio)
    take_history(studio)
    take_help(studio)


def take_steps(studio: Studio) -> None:
    """The steps before a run."""
    from surgeon_gui.state.app import Step
    from surgeon_gui.state.request import RequestKind

    window, session = studio.window, studio.window.session
    window.open_step(Step.MODEL)
    studio.picture("model")
    window.open_step(Step.CALIBRATION)
    studio.press("preview_button")
    preview = RequestKind.PREVIEW
    studio.wait(lambda: session.state.request(preview).response is not None)
    studio.picture("calibration")
    window.open_step(Step.TARGET)
    studio.picture("target")
    studio.press("target_diagnose_button")
    studio.wait(lambda: session.state.is_busy)
    studio.wait(lambda: not session.state.is_busy)
    studio.picture("diagnosis")
    window._tabs.open_tab("live_tab")


def take_run(studio: Studio) -> None:
    """A run as it goes, and its end."""
    session = studio.window.session
    studio.press("start_button")
    studio.wait(lambda: len(session.state.run.history) >= 2)
    studio.in_both_themes("live")
    studio.wait(lambda: not session.state.run.status.is_busy)
    if session.state.run.result is None:
        raise RuntimeError(str(session.state.run.error))


def take_result(studio: Studio) -> None:
    """What the run has come to, and what is done with it."""
    from surgeon_gui.state.app import Step

    window, session = studio.window, studio.window.session
    window.open_step(Step.EXPORT)
    studio.picture("export")
    studio.press("measure_button")
    studio.wait(lambda: not session.state.measurement.is_open)
    studio.settle()
    _scroll_to(studio, "speed_table")
    studio.picture("speed")
    layer = next(each for each in session.state.run.layers if each.block == 1)
    window._analysis_tabs.architecture.select(layer.name)
    window._tabs.open_tab("architecture_tab")
    studio.picture("architecture")


def take_playground(studio: Studio) -> None:
    """Both models, writing on from the same prompt."""
    window = studio.window
    window._tabs.open_tab("playground_tab")
    playground = window._playground
    playground.edit_prompt("The import statement")
    studio.press("playground_generate_button")
    studio.wait(lambda: playground.state.question.is_open)
    studio.wait(lambda: not playground.state.question.is_open)
    studio.picture("playground")


def take_history(studio: Studio) -> None:
    """A second, smaller run; the list of runs; both side by side."""
    from dataclasses import replace

    from surgeon_engine.api.config.pruning import PrunableShare
    from surgeon_gui.state.app import Step

    window, session = studio.window, studio.window.session
    pruning = replace(session.state.config.pruning, target=PrunableShare(0.2), shots=2)
    session.edit_pruning(pruning)
    studio.wait(lambda: not session.start_obstacle())
    studio.press("start_button")
    studio.wait(lambda: not session.state.run.status.is_busy)
    window.open_step(Step.RUN)
    runs = window._history.runs
    studio.act("runs_action")
    studio.wait(lambda: len(runs.state.records) == 2)
    studio.picture("runs")
    for record in runs.state.records:
        runs.tick(record.folder, True)
    studio.act("runs_action")
    window._tabs.open_tab("compare_tab")
    studio.settle()
    studio.picture("compare")
    window._tabs.open_tab("live_tab")


def take_help(studio: Studio) -> None:
    """The log and the dialogs."""
    studio.press("log_button")
    studio.picture("log")
    studio.press("log_button")
    studio.dialog("commands_action", "commands")


def _scroll_to(studio: Studio, name: str) -> None:
    from PySide6.QtWidgets import QScrollArea, QWidget

    panel = studio.window.findChild(QScrollArea, "step_panel")
    widget = studio.window.findChild(QWidget, name)
    assert panel is not None and widget is not None
    panel.ensureWidgetVisible(widget)


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
