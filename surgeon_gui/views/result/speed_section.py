"""Measure the speed and memory of an export."""

from __future__ import annotations

from functools import partial

from PySide6.QtWidgets import QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.export_text import (
    ended_note,
    measurement_conditions,
    problem_of,
    speed_summary,
)
from surgeon_gui.state.job import checks
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import sentence
from surgeon_gui.views.result.speed_table import SpeedTable
from surgeon_gui.views.task_progress import TaskProgress
from surgeon_gui.widgets.controls import (
    button,
    enable_unless,
    heading,
    problem_label,
    show_text,
    text_label,
)
from surgeon_gui.widgets.layouts import row_of, vertical

_INVITATION = tr(
    "The original and the pruned model run in turns on this machine. This takes a "
    "minute or more; close other programs for accurate results."
)


class SpeedSection(QWidget):
    """The Measure button, the progress, and the results."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._measure = button("measure_button", session.measure)
        self._progress = TaskProgress("measure")
        self._progress.cancel_clicked.connect(
            partial(session.store.cancel_request, RequestKind.MEASUREMENT)
        )
        self._problem = problem_label("measure_problem")
        self._note = text_label(quiet=True, name="measure_note")
        self._summary = text_label(name="speed_words")
        self._table = SpeedTable()
        self._conditions = text_label(quiet=True, name="speed_conditions")
        vertical(
            self,
            heading(tr("Speed and memory")),
            row_of(self._measure),
            self._progress,
            self._problem,
            self._note,
            self._summary,
            self._table,
            self._conditions,
        )

    def show_state(self, state: AppState) -> None:
        """Show the state of the measurement, and its results."""
        run, measurement = (
            state.shown_run,
            state.request_of_run(RequestKind.MEASUREMENT),
        )
        self.setVisible(run.exported is not None and run.status is Status.FINISHED)
        enable_unless(self._measure, sentence(checks.measure_obstacle(state)))
        self._progress.show_request(measurement)
        show_text(self._problem, problem_of(measurement))
        measured = run.measured
        note = ended_note(measurement, tr("Measurement"))
        if not measurement.id and measured is None:
            note = _INVITATION
        show_text(self._note, note)
        self._summary.setText(speed_summary(measured) if measured is not None else "")
        self._table.show_measured(measured)
        self._conditions.setText(
            measurement_conditions(measured) if measured is not None else ""
        )
        self._summary.setVisible(measured is not None)
        self._conditions.setVisible(measured is not None)
