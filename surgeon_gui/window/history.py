"""Earlier runs: the list, an opened run, the comparison and the reports."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDockWidget, QMainWindow, QMenu

from surgeon_gui.controllers.comparison import ComparisonController
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.controllers.storage import StorageController
from surgeon_gui.state.comparison import MIN_RUNS
from surgeon_gui.state.result_text import has_result
from surgeon_gui.views.bars import EarlierBar, ResumeBar
from surgeon_gui.views.comparison.view import CompareView
from surgeon_gui.views.report.reports import ReportRow, Reports
from surgeon_gui.views.runs.home import RunsHome
from surgeon_gui.views.storage.dialog import DiskSpaceDialog
from surgeon_gui.window.central_tabs import CentralTabs
from surgeon_gui.window.docks import DockPlacement, Docks
from surgeon_gui.window.run_queue import RunQueue

_PLACEMENT = DockPlacement(
    Qt.DockWidgetArea.RightDockWidgetArea, size=340, is_shown=False
)


class History(QObject):
    """Create the widgets and controllers of earlier runs and connect them."""

    def __init__(self, session: Session, window: QMainWindow) -> None:
        super().__init__(window)
        self._session = session
        self._window = window
        self.runs = RunsController(session)
        self.queue = RunQueue(session, self.runs, window)
        self.bar = EarlierBar(session)
        self.resume_bar = ResumeBar(session, self.runs)
        self._storage = StorageController(session, self.runs)
        self.comparison = ComparisonController(self.runs)
        self.reports = Reports(session, self.runs, window)
        self.report_row = ReportRow()
        self.reports.written.connect(self.report_row.show_written)
        self._panel = RunsHome(self.runs, self.queue.panel)
        self.has_comparison = False  # True once the user has compared runs
        self._comparison_view = CompareView()
        self.comparison.changed.connect(self._on_comparison_changed)

    def add_dock(self, docks: Docks, actions: dict[str, QAction]) -> QDockWidget:
        """Add the runs dock, and return it."""
        dock = docks.add("runs_dock", self._panel, _PLACEMENT)
        docks.connect_toggle("runs_dock", actions["runs_action"])
        self._comparison_view.runs_clicked.connect(dock.show)
        self.queue.added.connect(dock.show)
        return dock

    def add_tab(self, tabs: CentralTabs, actions: dict[str, QAction]) -> None:
        """Add the comparison tab, and connect the menu actions."""
        self._tabs, self._actions = tabs, actions
        tabs.add_tab("compare_tab", self._comparison_view)
        self._panel.compare_clicked.connect(self._on_compare_clicked)
        self.runs.opened.connect(self._on_run_opened)
        actions["disk_space_action"].triggered.connect(self._on_disk_space_triggered)
        self.queue.connect_actions(actions)
        self.queue.begun.connect(self._on_queue_begun)
        self.queue.completed.connect(self._on_queue_completed)
        menu = QMenu(self.report_row)
        for name, slot in (
            ("report_html_action", self.reports.ask_for_html),
            ("report_pdf_action", self.reports.ask_for_pdf),
        ):
            actions[name].triggered.connect(slot)
            menu.addAction(actions[name])
        self.report_row.set_menu(menu)
        self._session.changed.connect(self._on_session_changed)
        self._on_session_changed()

    def open_run(self, folder: Path) -> None:
        """Open the run in `folder` and show its charts."""
        self.runs.reopen(str(folder.absolute()))

    def ask_to_delete(self, folder: str) -> None:
        """Ask whether the run in a folder may be moved to the trash."""
        self._panel.ask_to_delete(folder)

    def finish(self) -> None:
        """Wait until notes and reports are written and runs are deleted."""
        self._panel.finish_typing()
        self.reports.finish_writing()
        self.runs.finish_deleting()
        self._storage.finish_deleting()
        self.queue.controller.close()

    @Slot()
    def _on_disk_space_triggered(self) -> None:
        DiskSpaceDialog(self._storage, self._window).open()

    @Slot()
    def _on_session_changed(self) -> None:
        self.bar.show_state(self._session.state)
        can_report = self.reports.can_report
        run = self._session.state.shown_run
        self.report_row.show_run(run, can_report=can_report)
        for name in ("report_html_action", "report_pdf_action"):
            self._actions[name].setEnabled(can_report)

    @Slot()
    def _on_comparison_changed(self) -> None:
        self._comparison_view.show_runs(self.comparison.compared)

    @Slot()
    def _on_compare_clicked(self) -> None:
        self.has_comparison = True
        self._tabs.show_tabs(True)
        self._tabs.open_tab("compare_tab")

    @Slot()
    def _on_queue_begun(self) -> None:
        if (
            self._session.state.opened_run is not None
            and not self._session.state.is_busy
        ):
            self._session.close_opened_run()
        self._tabs.open_tab("live_tab")

    @Slot(object)
    def _on_queue_completed(self, folders: tuple[str, ...]) -> None:
        if len(folders) >= MIN_RUNS:
            self.runs.tick_only(folders)
            self._on_compare_clicked()
        elif folders:
            self._tabs.open_at_top("result_tab")

    @Slot()
    def _on_run_opened(self) -> None:
        shows_result = has_result(self._session.state.shown_run)
        self._tabs.open_at_top("result_tab" if shows_result else "live_tab")
