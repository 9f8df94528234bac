"""The export of a run and its verification."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.export_text import (
    export_facts,
    failure_note,
    larger_note,
    unrun_note,
)
from surgeon_gui.state.run import Status
from surgeon_gui.views.steps.run_page import open_folder
from surgeon_gui.widgets.controls import (
    button,
    enable_unless,
    heading,
    problem_label,
    show_text,
    warning_label,
)
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.layouts import row_of, vertical


class ExportResult(QWidget):
    """The export of a run; hidden until there is one."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._title = heading(tr("The pruned model"))
        self._failure = problem_label("export_failure")
        self._unrun = problem_label("export_unrun_note")
        self._facts = Facts("export_facts")
        self._larger = warning_label("export_larger_note")
        self._open_button = button("open_export_button", self._on_open_clicked)
        vertical(
            self,
            self._title,
            self._failure,
            self._unrun,
            self._facts,
            self._larger,
            row_of(self._open_button),
        )

    def show_state(self, state: AppState) -> None:
        """Show the export of the run."""
        run = state.shown_run
        failure = failure_note(run)
        is_done = run.exported is not None and not run.status.is_busy
        show_text(self._failure, failure)
        show_text(self._unrun, unrun_note(run.exported) if is_done else "")
        self._facts.show_facts(export_facts(run) if is_done else ())
        show_text(self._larger, larger_note(run) if is_done else "")
        is_complete = run.status is Status.FINISHED
        self._title.setText(
            tr("The pruned model")
            if is_complete
            else tr("Partial export of the pruned model")
        )
        self._open_button.setVisible(is_done)
        elsewhere = tr("The files are on {computer}.").format(computer=run.computer)
        enable_unless(self._open_button, elsewhere if run.computer else "")
        self.setVisible(is_done or bool(failure))

    @Slot()
    def _on_open_clicked(self) -> None:
        if (exported := self._session.state.shown_run.exported) is not None:
            open_folder(exported.folder)
