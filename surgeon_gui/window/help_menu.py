"""The Help menu: guide, commands, debug bundle, About."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QByteArray, QObject, Slot
from PySide6.QtWidgets import QMainWindow

from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.messages.events import Failed
from surgeon_gui.base.background import Background
from surgeon_gui.base.settings import Settings
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.debug_bundle import write_bundle
from surgeon_gui.views.help.about import AboutDialog, versions
from surgeon_gui.views.help.commands_dialog import CommandsDialog
from surgeon_gui.views.help.guide import GuideDialog, guide_path
from surgeon_gui.widgets.dialogs import ask_new_file
from surgeon_gui.window.log_view import LogView
from surgeon_gui.window.menus import Menus

_PRIVATE = ("computers", "computer")  # names of computers and users


class HelpMenu(QObject):
    """Open the help dialogs and write the debug bundle."""

    def __init__(
        self,
        session: Session,
        settings: Settings,
        log: LogView,
        menus: Menus,
        window: QMainWindow,
    ) -> None:
        super().__init__(window)
        self._session = session
        self._settings = settings
        self._log = log
        self._window = window
        self._writing = Background(self)
        if guide_path() is None:  # an installation without it
            menus.actions["guide_action"].setEnabled(False)
        slots: dict[str, Callable[[], None]] = {
            "guide_action": self.show_guide,
            "commands_action": self.show_commands,
            "save_bundle_action": self._on_save_bundle_triggered,
            "about_action": self.show_about,
        }
        menus.connect_slots(slots)

    @Slot()
    def show_guide(self) -> None:
        """Open the guide."""
        if (guide := guide_path()) is not None:
            GuideDialog(guide, self._window).open()

    @Slot()
    def show_commands(self) -> None:
        """Open the list of commands and shortcuts."""
        CommandsDialog(self._window.menuBar(), self._window).open()

    @Slot()
    def show_about(self) -> None:
        """Open the About dialog."""
        AboutDialog(self._session.state.ready, self._window).open()

    @Slot(str)
    def save_bundle(self, path: str) -> None:
        """Write the debug bundle in the background; show the log when it is done."""
        self.finish_writing()
        state = self._session.state
        texts = bundled_texts(state, self._settings, self._log)
        folder = "" if state.shown_run.computer else state.shown_run.folder
        work = partial(_write, texts, folder, Path(path))
        self._writing.start(work, partial(self._on_written, path))

    def finish_writing(self) -> None:
        """Wait until a bundle that is being written is complete."""
        self._writing.finish()

    @Slot()
    def _on_save_bundle_triggered(self) -> None:
        name = time.strftime("surgeon-debug-%Y%m%d-%H%M.zip")
        title = tr("Save the debug bundle")
        ask_new_file(self._window, title, name, self.save_bundle)

    def _on_written(self, path: str, problem: str) -> None:
        if problem:
            message = tr("The debug bundle cannot be written: {error}.")
            hint = tr("Choose a folder that you may write to.")
            failed = Failed(message.format(error=problem), hint)
            self._session.store.show_problem(failed)
            return
        message = tr(
            "The debug bundle was saved to {path}. It contains versions, the log, "
            "settings and the metrics of the run. Access tokens and the names of home "
            "folders are removed."
        )
        self._log.note(message.format(path=path))
        self._log.show_on_top()


def bundled_texts(state: AppState, settings: Settings, log: LogView) -> dict[str, str]:
    """Return the texts of a debug bundle by their file names."""
    about = (f"{name}: {value}" for name, value in versions(state.ready))
    stored_settings = {
        field.name: _to_json(getattr(settings, field.name))
        for field in dataclasses.fields(settings)
        if field.name not in _PRIVATE
    }
    return {
        "about.txt": "\n".join(about) + "\n",
        "log.txt": log.all_text() + "\n",
        "settings.json": json.dumps(stored_settings, indent=2) + "\n",
        "job.toml": config_to_toml(state.config),
    }


def _write(texts: dict[str, str], run_folder: str, path: Path) -> str:
    """Write a debug bundle; return the error of the system, empty if there is none."""
    try:
        write_bundle(texts, run_folder, path)
    except OSError as error:
        return str(error)
    return ""


def _to_json(value: object) -> object:
    """Return a setting as a JSON value; of a binary layout, return its size."""
    return f"{value.size()} bytes" if isinstance(value, QByteArray) else value
