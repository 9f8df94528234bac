"""The Result tab: what a run has made, and what can be done with it."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state import result_text
from surgeon_gui.state.app import AppState
from surgeon_gui.state.export_text import (
    export_facts,
    failure_note,
    larger_note,
    unrun_note,
)
from surgeon_gui.state.job.targets import next_target_obstacle
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.run_text import phase, undone
from surgeon_gui.views.question import ReplaceQuestion
from surgeon_gui.views.result.save_section import SaveSection
from surgeon_gui.views.result.speed_section import SpeedSection
from surgeon_gui.views.sample_card import SampleCard
from surgeon_gui.views.steps.run_page import open_folder
from surgeon_gui.widgets.controls import (
    bold,
    button,
    enable_unless,
    heading,
    problem_label,
    set_enabled,
    show_text,
    text_label,
    warning_label,
)
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.layouts import card, on_top, row_of, vertical

_TITLE_SCALE = 1.4
_NARROW = 620  # pixels, below which there is one column
_EMPTY = tr("What a run makes is shown here once it has ended.")


class ResultView(QWidget):
    """Cards of the run in view: headline, quality, files, speed, other formats."""

    try_clicked = Signal()
    next_clicked = Signal()
    discard_clicked = Signal()

    def __init__(
        self, session: Session, report_row: QWidget, question: ReplaceQuestion
    ) -> None:
        super().__init__()
        self.setObjectName("result_view")
        self._columns = 0
        self._empty = text_label(_EMPTY, quiet=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._title = heading("")
        self._title.setObjectName("result_title")
        self._title.setWordWrap(True)
        self._title.setFont(bold(self._title.font(), _TITLE_SCALE))
        self._outcome = text_label(name="result_outcome")
        self._undone = warning_label("result_undone")
        self._sample = SampleCard("result")
        self._verified = text_label(quiet=True, name="result_verified")
        self._quality = Facts("result_quality")
        self._result = ExportResult(session)
        self._speed = SpeedSection(session)
        self._save = SaveSection(session, question)
        top = card(
            self._title, self._outcome, self._undone, self._verified, self._actions()
        )
        self._optional: tuple[tuple[QWidget, QWidget], ...] = (
            (card(heading(tr("Quality")), self._quality), self._quality),
            (card(self._speed), self._speed),
            (card(self._save), self._save),
        )
        quality, speed, save = (frame for frame, _ in self._optional)
        left = on_top(quality, self._sample, speed)
        right = on_top(card(self._result, report_row), save)
        self._parts = (top, left, right)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._arrange()

    def show_state(self, state: AppState) -> None:
        """Show the result of the run; a note while there is none."""
        run = state.shown_run
        has_result = result_text.has_result(run)
        self._empty.setVisible(not has_result)
        for each in self._parts:
            each.setVisible(has_result)
        for part in (self._result, self._speed, self._save):
            part.show_state(state)
        if has_result:
            self._show_result(run)
        for frame, content in self._optional:
            frame.setVisible(not content.isHidden())
        self._arrange()

    def _show_result(self, run: RunState) -> None:
        is_success = result_text.is_success(run)
        tick = "\N{CHECK MARK} " if is_success else ""
        self._title.setText(tick + result_text.headline(run))
        self._outcome.setText(phase(run))
        show_text(self._undone, undone(run))
        self._sample.show_run(run)
        self._verified.setText(result_text.verified(run))
        self._quality.show_facts(result_text.quality_facts(run))
        set_enabled(self._try, is_enabled=run.exported is not None)
        enable_unless(self._next, next_target_obstacle(run.config))
        elsewhere = tr("The files are on {computer}.").format(computer=run.computer)
        enable_unless(self._discard, elsewhere if run.computer else "")

    def _actions(self) -> QWidget:
        self._try = button("result_try_button", self.try_clicked, primary=True)
        self._next = button("result_next_button", self.next_clicked)
        self._discard = button("result_discard_button", self.discard_clicked)
        row = QWidget()
        layout = row_of(self._try, self._next, self._discard)
        layout.setContentsMargins(0, GAP, 0, 0)
        row.setLayout(layout)
        return row

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    # The layout would give the width of the current columns, and the height of texts
    # that wrap more often than here: the view would never become narrower, and would
    # end in blank space. Its height follows from its width.
    @override
    def minimumSizeHint(self) -> QSize:
        return QSize(max(part.minimumSizeHint().width() for part in self._parts), 0)

    def _arrange(self) -> None:
        """Place the cards in two columns where both have room."""
        top, left, right = self._parts
        needed = GAP + sum(part.minimumSizeHint().width() for part in (left, right))
        columns = 2 if self.width() >= max(_NARROW, needed) else 1
        if columns == self._columns:
            return
        self._columns = columns
        self._grid.addWidget(self._empty, 0, 0, 1, columns)
        self._grid.addWidget(top, 1, 0, 1, columns)
        self._grid.addWidget(left, 2, 0)
        self._grid.addWidget(right, *((2, 1) if columns == 2 else (3, 0)))
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, columns - 1)
        self._grid.setRowStretch(4, 1)


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
