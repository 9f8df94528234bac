"""Runs of before, put together: their list, one of them opened, several compared."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMainWindow, QMenu

from surgeon_gui.controllers.comparison import ComparisonController
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.views.comparison.view import CompareView
from surgeon_gui.views.report.report_row import ReportRow
from surgeon_gui.views.report.reports import Reports
from surgeon_gui.views.runs.earlier_bar import EarlierBar
from surgeon_gui.views.runs.runs_panel import RunsPanel
from surgeon_gui.window.central_tabs import Centre
from surgeon_gui.window.docks import DockArea, Docks

_PLACE = DockArea(Qt.DockWidgetArea.RightDockWidgetArea, size=340, is_shown=False)


class History(QObject):
    """Makes the parts and connects them; the window gives each its place."""

    save_failed = Signal(str)

    def __init__(self, session: Session, window: QMainWindow) -> None:
        super().__init__(window)
        self._session = session
        self._window = window
        self.runs = RunsController(session)
        self.bar = EarlierBar(session)
        self.comparing = ComparisonController(self.runs)
        self.reports = Reports(session, self.runs, window)
        self.report_row = ReportRow()
        self.reports.written.connect(self.report_row.show_written)
        self._panel = RunsPanel(self.runs)
        self.was_compared = False  # the user has asked to see a comparison
        self._view = CompareView()
        self._view.save_failed.connect(self.save_failed)
        self.comparing.changed.connect(self._on_comparison_changed)

    def add_to(self, centre: Centre, docks: Docks, actions: dict[str, QAction]) -> None:
        """Take a tab in the centre, a dock, and the actions of the menus."""
        self._centre, self._actions = centre, actions
        centre.add_tab("compare_tab", self._view)
        self._dock = docks.add("runs_dock", self._panel, _PLACE)
        docks.connect_switch("runs_dock", actions["runs_action"])
        self._panel.compare_clicked.connect(self._on_compare)
        self._view.runs_clicked.connect(self._dock.show)
        self.runs.opened.connect(self._on_opened)
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
        """Show the run in a folder with all its charts."""
        self.runs.reopen(str(folder.absolute()))

    def finish(self) -> None:
        """Wait for what is being written or deleted, as the window closes."""
        self.reports.finish_writing()
        self.runs.finish_deleting()

    def save_charts(self, folder: Path) -> None:
        """Write a picture of each part of the comparison into `folder`."""
        self._view.save_pictures(folder)

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
        self._view.show_runs(self.comparing.compared)

    @Slot()
    def _on_compare(self) -> None:
        self.was_compared = True
        self._centre.show_tabs(True)
        self._centre.open_tab("compare_tab")

    @Slot()
    def _on_opened(self) -> None:
        self._centre.open_tab("live_tab")
