"""The place Runs: the list of all runs, one run, or a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMainWindow, QMenu, QStackedWidget, QWidget

from surgeon_gui.base.theme import GAP, PAGE, ROOM
from surgeon_gui.controllers.comparison import ComparisonController
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.controllers.storage import StorageController
from surgeon_gui.state.app import AppState
from surgeon_gui.state.comparison import MIN_RUNS
from surgeon_gui.state.queue.text import place
from surgeon_gui.views.architecture.view import ArchitectureView, LayersPlace
from surgeon_gui.views.comparison.view import CompareView
from surgeon_gui.views.question import ReplaceQuestion
from surgeon_gui.views.report.reports import ReportRow, Reports
from surgeon_gui.views.run.page import RunPage
from surgeon_gui.views.runs.home import RunsHome
from surgeon_gui.views.storage.dialog import DiskSpaceDialog
from surgeon_gui.widgets.controls import give_menu, link
from surgeon_gui.widgets.elided_link import ElidedLink
from surgeon_gui.widgets.layouts import STRETCH, PageArea, horizontal, vertical
from surgeon_gui.window.run_queue import RunQueue


class RunsPlace(QStackedWidget):
    """Create the widgets and controllers of runs, and connect them."""

    asked_to_open = Signal()  # something in this place should be seen

    def __init__(
        self,
        session: Session,
        runs: RunsController,
        actions: Mapping[str, QAction],
        question: ReplaceQuestion,
        layers: ArchitectureView,
        window: QMainWindow,
    ) -> None:
        super().__init__()
        self._session, self._actions, self._window = session, actions, window
        self.runs = runs
        self.queue = RunQueue(session, self.runs, actions, window)
        self.comparison = ComparisonController(self.runs)
        self.reports = Reports(session, self.runs, window)
        self._storage = StorageController(session, self.runs)
        self._report_row = ReportRow()
        self.home = RunsHome(self.runs, self.queue.panel)
        self.page = RunPage(session, self._report_row, question)
        self._comparison_view = CompareView()
        compared, of_run = self._comparison_view, LayersPlace(layers, of_run=True)
        to_runs = link("compare_back_button", self.show_home)
        self._compare_page = _with_link(compared, to_runs)
        self._to_run = ElidedLink("layers_back_button", self.show_run)
        self._layers_page = _with_link(of_run, self._to_run)
        for each in (self.home, self.page, self._compare_page, self._layers_page):
            self.addWidget(each)
        self._connect(question)

    def _connect(self, question: ReplaceQuestion) -> None:
        self.reports.written.connect(self._report_row.show_written)
        self.comparison.changed.connect(self._on_comparison_changed)
        self.home.compare_clicked.connect(partial(self._show, self._compare_page))
        self.page.head.back_clicked.connect(self.show_home)
        self.page.details.layers_clicked.connect(partial(self._show, self._layers_page))
        self.page.head.resume_clicked.connect(self._on_resume_clicked)
        self.runs.replace_asked.connect(question.ask_about)
        self.runs.opened.connect(self.show_run)
        self.queue.added.connect(self.show_home)
        self.queue.controller.begun.connect(self._on_queue_begun)
        self.queue.completed.connect(self._on_queue_completed)
        self._session.changed.connect(self._on_session_changed)
        disk_space = self._actions["disk_space_action"]
        disk_space.triggered.connect(self._on_disk_space_triggered)
        menu = QMenu(self._report_row)
        for kind in ("html", "pdf"):
            report = self._actions[f"report_{kind}_action"]
            report.triggered.connect(partial(self.reports.ask, kind))
            menu.addAction(report)
        give_menu(self._report_row.save, menu)
        self._on_session_changed()

    def show_state(self, state: AppState, now: float) -> None:
        """Show the run in view."""
        self.page.show_state(state, now, place(self.queue.controller.state))
        tip = self._to_run.accessibleDescription()
        self._to_run.show_line(f"← {self.page.head.name}", tip)

    @property
    def shows_run(self) -> bool:
        """True if a run is shown, and not the list or the comparison."""
        return self.currentWidget() is self.page

    @Slot()
    def show_home(self) -> None:
        """Show the list of runs."""
        self._show(self.home)

    @Slot()
    def show_run(self) -> None:
        """Show the run in view."""
        self._show(self.page)

    def _show(self, page: QWidget) -> None:
        if page is not self.currentWidget():
            self.setFocus()  # else Qt gives it to the first button of the page
        self.setCurrentWidget(page)
        self.asked_to_open.emit()

    def open_run(self, folder: Path) -> None:
        """Open the run in `folder`."""
        self.runs.reopen(str(folder.absolute()))

    def finish(self) -> None:
        """Wait until notes and reports are written and runs are deleted."""
        self.home.finish_typing()
        self.reports.finish_writing()
        self.runs.finish_deleting()
        self._storage.finish_deleting()
        self.queue.controller.close()

    @Slot()
    def _on_resume_clicked(self) -> None:
        self.runs.resume(self._session.state.shown_run.folder)

    @Slot()
    def _on_disk_space_triggered(self) -> None:
        DiskSpaceDialog(self._storage, self._window).open()

    @Slot()
    def _on_session_changed(self) -> None:
        can_report = self.reports.can_report
        run = self._session.state.shown_run
        self._report_row.show_run(run, can_report=can_report)
        for name in ("report_html_action", "report_pdf_action"):
            self._actions[name].setEnabled(can_report)
        if self.shows_run and not self._session.state.shows_run:
            self.setCurrentWidget(self.home)  # the run was deleted

    @Slot()
    def _on_comparison_changed(self) -> None:
        self._comparison_view.show_runs(self.comparison.compared)

    @Slot()
    def _on_queue_begun(self) -> None:
        state = self._session.state
        is_begun = self.queue.controller.holds(state.run)
        if state.opened_run is not None and (is_begun or not state.is_busy):
            self._session.close_opened_run()
        self.show_run()

    @Slot(object)
    def _on_queue_completed(self, folders: tuple[str, ...]) -> None:
        page: QWidget = self.page
        if len(folders) >= MIN_RUNS:
            self.runs.tick_only(folders)
            page = self._compare_page
        if folders and self.isVisible():
            self._show(page)
        elif folders:
            self.setCurrentWidget(page)  # the user works at another place


def _with_link(view: QWidget, back: QWidget) -> QWidget:
    """Return a page with a view below a link that leads back."""
    page, top = QWidget(), QWidget()
    horizontal(top, back, STRETCH, margin=(PAGE, ROOM, PAGE, 0))
    content = QWidget()
    column = vertical(content, view, margin=(PAGE, 0, PAGE, ROOM))
    vertical(page, top, (PageArea(content, column), 1), spacing=GAP)
    return page
