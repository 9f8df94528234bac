"""Measure the speed and memory of an export, and show them in a table."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from surgeon_engine.api.messages.benchmark import Measured, summarize
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.export_text import (
    SpeedCell,
    ended_note,
    measurement_conditions,
    problem_of,
    speed_rows,
)
from surgeon_gui.state.job import checks
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.text import numbers
from surgeon_gui.text.problems import sentence
from surgeon_gui.views.task_progress import TaskProgress
from surgeon_gui.widgets.controls import (
    bold,
    button,
    enable_unless,
    heading,
    line_label,
    problem_label,
    show_text,
    text_label,
)
from surgeon_gui.widgets.layouts import row_of, vertical

_INVITATION = tr(
    "The original and the pruned model run in turns on this machine. This takes a "
    "minute or more; close other programs for accurate results."
)
_TITLES = (tr("Original"), tr("Pruned"), tr("Ratio"))
_SMALLER = 0.85  # font scale of the spreads


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
        summary = summarize(measured, numbers.size) if measured is not None else ""
        self._summary.setText(summary)
        self._table.show_measured(measured)
        self._conditions.setText(
            measurement_conditions(measured) if measured is not None else ""
        )
        self._summary.setVisible(measured is not None)
        self._conditions.setVisible(measured is not None)


class SpeedTable(QWidget):
    """Shows each figure with the spread over its rounds below it.

                 Original        Pruned       Ratio
    Prompt          1,204         1,530        1.27
    tokens/s  1,190-1,220   1,500-1,545   1.25-1.29
    """

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("speed_table")
        self.setAccessibleName(tr("Speed and memory, original and pruned"))
        self._shown: Measured | None = None
        self._cells: list[QLabel] = []
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setHorizontalSpacing(GAP)
        self._layout.setVerticalSpacing(0)
        self._layout.setColumnStretch(0, 1)
        self.hide()

    def show_measured(self, measured: Measured | None) -> None:
        """Show the figures of a measurement; hidden for None."""
        self.setVisible(measured is not None)
        if measured is self._shown:
            return
        self._shown = measured
        for cell in self._cells:
            self._layout.removeWidget(cell)
            cell.hide()  # deletion is deferred
            cell.deleteLater()
        self._cells.clear()
        if measured is not None:
            self._fill(measured)

    def _fill(self, measured: Measured) -> None:
        for column, title in enumerate(_TITLES, start=1):
            self._add(title, 0, column, is_quiet=True)
        for number, cells in enumerate(speed_rows(measured)):
            row = 1 + 3 * number  # figure, spread, and the gap below
            for column, cell in enumerate(cells):
                self._add_cell(cell, row, column)
            self._layout.setRowMinimumHeight(row + 2, GAP // 2)

    def _add_cell(self, cell: SpeedCell, row: int, column: int) -> None:
        figure = self._add(cell.value, row, column, is_quiet=not column)
        if column:
            figure.setFont(bold(figure.font()))
        if cell.below:
            below = self._add(cell.below, row + 1, column, is_quiet=True)
            font = below.font()
            font.setPointSizeF(font.pointSizeF() * _SMALLER)
            below.setFont(font)

    def _add(
        self, text: str, row: int, column: int, *, is_quiet: bool = False
    ) -> QLabel:
        label = line_label(text, quiet=is_quiet)
        if column:
            label.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._layout.addWidget(label, row, column)
        self._cells.append(label)
        return label
