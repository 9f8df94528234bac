"""Start the window: `surgeon-gui` or `python -m surgeon_gui`.

Options are parsed before Qt is imported, so that --help and --version are fast. The
language is set before modules with texts are imported.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.files import expand_path
from surgeon_gui.base import paths
from surgeon_gui.base.translation import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtWidgets import QApplication

    from surgeon_engine.api.client import EngineClient
    from surgeon_gui.base.settings import Settings
    from surgeon_gui.window.main_window import MainWindow

_LOG_LEVELS = ("debug", "info", "warning", "error")
_SETTLED_MS = 1_000  # after which the window has been drawn


def main(argv: list[str] | None = None) -> int:
    """Show the window until it is closed; return the exit status."""
    gc.disable()  # imports leave no garbage; later it is collected by a timer
    _open_missing_streams()
    options = make_parser().parse_args(argv)
    logging.basicConfig(
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        settings = _load_settings(options)
    except UnreadableFileError as error:
        sys.stderr.write(f"{error.message} {error.hint}\n")
        return 1
    from surgeon_engine.base import formatting
    from surgeon_gui.base import languages
    from surgeon_gui.base import settings as settings_store

    languages.choose(settings.language)
    # Before texts are imported: some name the unit. Job files always have MB and GB.
    formatting.use_binary_sizes(settings.units is settings_store.Units.BINARY)
    from surgeon_gui.app import make_application
    from surgeon_gui.text import labels

    labels.name_settings()
    application = make_application(sys.argv[:1])
    window = _make_window(application, settings, options)
    window.show()
    load_job(window, options)
    settings_store.save_changes_regularly(window.settings, window.remember, window)
    code = application.exec()
    settings_store.save(window.settings)
    return code


def _load_settings(options: argparse.Namespace) -> Settings:
    from surgeon_gui.base import settings as settings_store

    settings_store.name_application()
    settings_store.check_file()
    if options.reset_settings:
        settings_store.reset()
    settings = settings_store.load()
    if options.theme is not None:
        settings.theme = settings_store.ThemeChoice(options.theme)
    if options.language is not None:
        settings.language = options.language
    return settings


def _start_engine_thread() -> EngineClient:
    """Start an engine in a thread of this process, for debugging: it loads torch."""
    from surgeon_engine.api.client import EngineThreadClient

    server = importlib.import_module("surgeon_engine.server")
    return EngineThreadClient(server.Engine)


def _make_window(
    application: QApplication, settings: Settings, options: argparse.Namespace
) -> MainWindow:
    from PySide6.QtCore import QTimer

    from surgeon_engine.api.client import EngineProcess
    from surgeon_gui.app import ExceptionRelay, ExitSignals, follow_system_theme
    from surgeon_gui.base import offline
    from surgeon_gui.controllers.computers import client_of
    from surgeon_gui.controllers.engine_thread import EngineThread
    from surgeon_gui.window.main_window import MainWindow

    offline.use(settings.is_offline)
    make_client: Callable[[], EngineClient] = (
        _start_engine_thread if options.in_process else EngineProcess
    )
    engine = EngineThread(make_client, first=client_of(settings))
    engine.start()  # loads while the window is created
    window = MainWindow(engine, settings, options.run_dir)
    # Before, each widget would be styled again whenever it gets into another.
    follow_system_theme(application, settings)
    relay = ExceptionRelay(window)
    relay.raised.connect(window.show_problem)
    relay.install()
    signals = ExitSignals(window)
    signals.received.connect(window.close_without_question)
    signals.install()
    application.aboutToQuit.connect(signals.remove)
    application.aboutToQuit.connect(engine.shut_down)
    QTimer.singleShot(_SETTLED_MS, window, _freeze_objects)
    return window


def _freeze_objects() -> None:
    """Let collections leave out the objects that live until the end.

    Otherwise each would traverse them all and delay the window.
    """
    gc.collect()
    gc.freeze()


def load_job(window: MainWindow, options: argparse.Namespace) -> None:
    """Load the job, model or run that the options name; by default the last ones."""
    if options.config is None and not options.model and options.open is None:
        window.restore_last_session()
    if options.config is not None:
        window.new.run_page.load_job(str(options.config))
    if options.model:
        window.session.draft.choose_model(_lasting(options.model))
    if options.open is not None:
        window.runs.open_run(options.open)


def _lasting(model: str) -> str:
    """Return the full path of a file or folder: later starts may be elsewhere."""
    is_path = model != DEMO and paths.exists(model)
    return str(expand_path(model)) if is_path else model


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="surgeon-gui", description="Prune language models in a window."
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a folder, a .gguf file, or demo"
    )
    parser.add_argument(
        "--config", type=Path, metavar="JOB.toml", help="load all settings from a job"
    )
    parser.add_argument(
        "--run-dir", type=Path, metavar="FOLDER", help="create run folders here"
    )
    parser.add_argument(
        "--open", type=Path, metavar="RUN", help="show the run in this folder"
    )
    parser.add_argument("--theme", choices=("system", "light", "dark"))
    parser.add_argument("--language", choices=tuple(LANGUAGES))
    parser.add_argument("--log-level", choices=_LOG_LEVELS, default="warning")
    parser.add_argument(
        "--reset-settings",
        action="store_true",
        help="delete all stored settings",
    )
    parser.add_argument(
        "--in-process",
        action="store_true",
        help="run the engine in this process, for debugging",
    )
    parser.add_argument("--version", action="version", version=_version())
    return parser


def _version() -> str:
    try:
        return f"surgeon {metadata.version('surgeon')}"
    except metadata.PackageNotFoundError:
        return "surgeon (not installed)"


def _open_missing_streams() -> None:
    """Open the standard streams that are missing without a terminal on Windows."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


if __name__ == "__main__":
    sys.exit(main())
