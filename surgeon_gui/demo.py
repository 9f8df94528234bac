"""Prune the bundled demo in the window automatically: `python -m surgeon_gui.demo`.

Opens the window, loads and starts the demo, and saves pictures of the window and its
charts in the run folder. Without a display it runs offscreen and exits at the end; with
a display the window stays open.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.toml import read_config
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.files import name_beside, to_trash

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from surgeon_gui.controllers.engine_thread import EngineThread
    from surgeon_gui.state.app import AppState
    from surgeon_gui.state.run import RunState

DEMO_CONFIG = RunConfig(
    model=ModelConfig(source=DEMO),
    pruning=PruningConfig(Structure.HEADS_AND_NEURONS, sparsity=0.3),
)
_SETTLING_MS = 300  # until the layout of the window is final
_DISPLAY_VARIABLES = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return 0 if it was pruned."""
    parser = argparse.ArgumentParser(prog="python -m surgeon_gui.demo")
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"))
    folder = parser.parse_args(argv).folder.resolve()
    if not clear_folder(folder):
        _print(f"{folder} is not the folder of a demo run, so it is not replaced.")
        return 1
    stays_open = has_display()
    if not stays_open:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        _print("There is no display: the window is drawn offscreen.")
    from surgeon_gui.app import make_application
    from surgeon_gui.controllers.engine_thread import EngineThread

    application = make_application(sys.argv[:1])
    engine = EngineThread()
    engine.start()
    return run_demo(application, engine, folder, stays_open=stays_open)


def run_demo(
    application: QApplication,
    engine: EngineThread,
    folder: Path,
    *,
    stays_open: bool,
) -> int:
    """Prune the demo into `folder`; return when the window is closed."""
    from PySide6.QtCore import QTimer

    from surgeon_gui.app import follow_system_theme
    from surgeon_gui.base.settings import Settings
    from surgeon_gui.widgets.charts.chart_card import save_widget
    from surgeon_gui.window.main_window import MainWindow

    settings = Settings()  # the defaults, so that pictures look the same everywhere
    window = MainWindow(engine, settings, folder.parent)
    follow_system_theme(application, settings)
    ended_runs: list[RunState] = []
    obstacles: list[str] = []  # reasons why the run can never start

    def start_when_ready() -> None:
        state = window.session.state
        if state.shows_run or obstacles:
            return
        if obstacle := _permanent_obstacle(state):
            obstacles.append(obstacle)
            _print(obstacle)
            QTimer.singleShot(_SETTLING_MS, window, finish)
            return
        if window.session.start_obstacle():
            return
        _print(f"Pruning the demo into {folder}")
        window.start_run(folder)
        window.runs.show_run()

    def on_run_ended(run: RunState) -> None:
        ended_runs.append(run)
        _report(run)
        QTimer.singleShot(_SETTLING_MS, window, finish)

    def finish() -> None:
        if ended_runs and folder.is_dir():
            save_widget(window, folder / "window.png")
            window.save_charts(folder)
        if not stays_open:
            window.close()

    window.session.changed.connect(start_when_ready)
    window.session.run_ended.connect(on_run_ended)
    window.show()
    window.session.draft.load(DEMO_CONFIG)
    application.exec()
    return 0 if ended_runs and ended_runs[0].result is not None else 1


def clear_folder(folder: Path) -> bool:
    """Move an earlier run of the demo away; return False for anything else.

    It goes to the trash; without one, it is kept beside the new run.
    """
    if not folder.exists():
        return True
    if not _is_demo_run(RunFolder(folder)):
        return folder.is_dir() and not any(folder.iterdir())
    if not to_trash(folder):
        folder.rename(name_beside(folder))
    return True


def _is_demo_run(run: RunFolder) -> bool:
    """Return whether a folder holds a demo run; a checkpoint has no events."""
    if not run.events_path.is_file():
        return False
    try:
        return read_config(run.config_path).model.source == DEMO
    except ConfigError:
        return False


def _permanent_obstacle(state: AppState) -> str:
    """Return why the demo can never start; empty if it can."""
    from surgeon_gui.state.app import Engine
    from surgeon_gui.state.job.checks import first_problem
    from surgeon_gui.state.request import RequestKind
    from surgeon_gui.text.problems import sentence

    problem = state.request(RequestKind.INSPECTION).error
    if state.engine is Engine.UNAVAILABLE:
        problem = state.notice or problem
    if problem is not None:
        return f"{problem.message} {problem.hint}\n{problem.details}".strip()
    return sentence(first_problem(state.problems))


def has_display() -> bool:
    """Return True if a window can be shown on a display."""
    if not sys.platform.startswith("linux"):
        return os.environ.get("QT_QPA_PLATFORM") != "offscreen"
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        return False
    return any(os.environ.get(name) for name in _DISPLAY_VARIABLES)


def _report(run: RunState) -> None:
    from surgeon_gui.state.run_text import run_ending

    _print(run_ending(run))
    if run.error is not None:
        _print(f"{run.error.message} {run.error.hint}\n{run.error.details}")


def _print(message: str) -> None:
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
