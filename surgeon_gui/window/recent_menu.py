"""The menu Open recent: jobs, runs and models; missing ones are disabled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError
from surgeon_gui.base import paths
from surgeon_gui.base.settings import Settings
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.reading import is_run, read_name, readable_config
from surgeon_gui.state.runs.text import title_of
from surgeon_gui.state.sources.resolver import is_missing
from surgeon_gui.text.labels import source_name
from surgeon_gui.widgets.controls import action, section_title
from surgeon_gui.widgets.tool_tips import plain_tip
from surgeon_gui.window.new_place import NewPlace


def _title_of_folder(folder: str) -> str:
    """Return the title of a run that is not in the list, or not read yet."""
    path, size, reached, tokens = Path(folder), 0, None, None
    with suppress(EngineError):  # it has no result
        report = RunFolder(path).read_report()
        size = report.exported.weight_bytes if report.exported is not None else 0
        reached = report.shots[-1].sparsity if report.stopped_early else None
        tokens = report.tokens
    name, config = read_name(path), readable_config(path)
    return title_of(folder, name, config, size, reached, tokens)


class _Kind(NamedTuple):
    """A kind of things that can be opened again."""

    name: str
    title: str
    label: Callable[[str], str]
    is_there: Callable[[str], bool]


_JOBS = _Kind("job", tr("Jobs"), lambda path: Path(path).name, paths.is_file)
_RUNS = _Kind("run", tr("Runs"), _title_of_folder, lambda path: is_run(Path(path)))
_MODELS = _Kind("model", tr("Models"), source_name, lambda x: not is_missing(x))


class RecentMenu(QObject):
    """Fill the menu when it opens, and whenever a list has changed."""

    def __init__(
        self,
        menu: QMenu,
        settings: Settings,
        session: Session,
        runs: RunsController,
        new: NewPlace,
    ) -> None:
        super().__init__(menu)
        self._menu, self._settings = menu, settings
        self._session, self._runs, self._new = session, runs, new
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(self.fill)
        self._clear = action(self, "recent_clear_action", self._on_clear_triggered)
        session.request_ended.connect(self._on_request_ended)
        session.run_ended.connect(self._on_run_ended)
        runs.opened.connect(self._on_run_opened)
        new.run_page.job_used.connect(self._on_job_used)
        self.fill()

    @Slot()
    def fill(self) -> None:
        """Show the recent jobs, runs and models."""
        for shown in self._menu.actions():
            self._menu.removeAction(shown)
            if shown is not self._clear:
                shown.deleteLater()
        settings, titles = self._settings, self._runs.state.titles
        lists = (
            (_JOBS, settings.recent_jobs, self._new.run_page.load_job),
            (_RUNS, settings.recent_runs, self._runs.reopen),
            (_MODELS, settings.recent_models, self._new.model_card.choose),
        )
        filled = [each for each in lists if each[1]]
        for kind, recent, open_again in filled:
            self._menu.addAction(section_title(kind.title, self._menu))
            for number, each in enumerate(recent, start=1):
                added = self._added(kind, each, titles.get(each, ""), open_again)
                added.setObjectName(f"recent_{kind.name}_action_{number}")
            end = QAction(self._menu)  # Qt's own separators would leak
            end.setSeparator(True)
            self._menu.addAction(end)
        self._menu.addAction(self._clear)
        self._clear.setEnabled(bool(filled))

    def _added(
        self, kind: _Kind, recent: str, title: str, open_again: Callable[[str], None]
    ) -> QAction:
        text, is_usable = title or kind.label(recent), kind.is_there(recent)
        text = text.replace("&", "&&")
        if not is_usable:
            text = tr("{name} (missing)").format(name=text)
        added = QAction(text, self._menu)
        added.setToolTip(plain_tip(recent))
        added.setEnabled(is_usable)
        added.triggered.connect(lambda: open_again(recent))
        self._menu.addAction(added)
        return added

    @Slot(object, object)
    def _on_request_ended(self, kind: RequestKind, request: Request[Any]) -> None:
        state = self._session.state
        source = state.config.model.source
        is_inspected = kind is RequestKind.INSPECTION and request.response is not None
        if is_inspected and source != DEMO and not state.computer:
            self._settings.remember_model(source)
            self.fill()

    @Slot(str)
    def _on_job_used(self, path: str) -> None:
        self._settings.remember_job(path)
        self.fill()

    @Slot()
    def _on_run_opened(self) -> None:
        run = self._session.state.shown_run
        if not run.computer:
            self._settings.remember_run(run.folder)
        self.fill()

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        if not run.computer:
            self._settings.pace = self._session.state.pace
            if _RUNS.is_there(run.folder):  # a refused run leaves none
                self._settings.remember_run(run.folder)
            self.fill()

    @Slot()
    def _on_clear_triggered(self) -> None:
        self._settings.forget_recent()
        self.fill()
        self._session.draft.recheck()
