"""The menu Open recent: jobs, runs and models; missing ones are disabled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PySide6.QtCore import QObject, Signal, SignalInstance, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from surgeon_gui.base import paths
from surgeon_gui.base.settings import Settings
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.runs.reading import is_run, read_name, readable_config
from surgeon_gui.state.runs.text import title_of
from surgeon_gui.state.sources.resolver import is_missing
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import source_name
from surgeon_gui.widgets.tool_tips import plain_tip


def _job_label(path: str) -> str:
    return Path(path).name


def _title_of_folder(folder: str) -> str:
    """Return the title of a run that is not in the list, or not read yet."""
    path = Path(folder)
    return title_of(folder, read_name(path), readable_config(path))


def _is_run(folder: str) -> bool:
    return is_run(Path(folder))


def _is_there(source: str) -> bool:
    return not is_missing(source)


class _Kind(NamedTuple):
    """A kind of things that can be opened again."""

    name: str
    title: str
    label: Callable[[str], str]
    is_there: Callable[[str], bool]


_JOBS = _Kind("job", tr("Jobs"), _job_label, paths.is_file)
_RUNS = _Kind("run", tr("Runs"), _title_of_folder, _is_run)
_MODELS = _Kind("model", tr("Models"), source_name, _is_there)


class RecentMenu(QObject):
    """Fill the menu when it opens, and whenever a list has changed."""

    job_chosen = Signal(str)  # file
    run_chosen = Signal(str)  # folder
    model_chosen = Signal(str)  # source
    cleared = Signal()

    def __init__(
        self, menu: QMenu, settings: Settings, runs: RunsController, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._menu, self._settings, self._runs = menu, settings, runs
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(self.fill)
        self._titles = {
            kind: _separator(kind.title, self) for kind in (_JOBS, _RUNS, _MODELS)
        }
        self._end = _separator("", self)
        self._clear = QAction(CAPTIONS["recent_clear_action"].label, self)
        self._clear.setObjectName("recent_clear_action")
        self._clear.triggered.connect(self._on_clear_triggered)
        self.fill()

    @Slot()
    def fill(self) -> None:
        """Show the recent jobs, runs and models."""
        for action in self._menu.actions():
            self._menu.removeAction(action)
            if action.objectName() and action is not self._clear:
                action.deleteLater()
        settings, titles = self._settings, self._runs.state.titles
        lists = (
            (_JOBS, settings.recent_jobs, self.job_chosen),
            (_RUNS, settings.recent_runs, self.run_chosen),
            (_MODELS, settings.recent_models, self.model_chosen),
        )
        for kind, recent, chosen in lists:
            if recent:
                self._menu.addAction(self._titles[kind])
            for number, each in enumerate(recent, start=1):
                label = titles.get(each) or kind.label(each)
                action = self._add(kind, each, label, number)
                action.triggered.connect(partial(_emit, chosen, each))
        self._menu.addAction(self._end)
        self._menu.addAction(self._clear)
        self._clear.setEnabled(any(recent for _, recent, _ in lists))

    def _add(self, kind: _Kind, recent: str, label: str, number: int) -> QAction:
        text, is_usable = label.replace("&", "&&"), kind.is_there(recent)
        if not is_usable:
            text = tr("{name} (missing)").format(name=text)
        action = QAction(text, self._menu)
        action.setObjectName(f"recent_{kind.name}_action_{number}")
        action.setToolTip(plain_tip(recent))
        action.setEnabled(is_usable)
        self._menu.addAction(action)
        return action

    @Slot()
    def _on_clear_triggered(self) -> None:
        self._settings.forget_recent()
        self.fill()
        self.cleared.emit()


def _separator(title: str, parent: QObject) -> QAction:
    action = QAction(title, parent)
    action.setSeparator(True)
    return action


def _emit(signal: SignalInstance, path: str, _: bool = False) -> None:
    signal.emit(path)
