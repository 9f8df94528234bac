"""Quiet links below a run; each opens a section in place."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QLabel, QPushButton, QSizePolicy, QWidget
from typing_extensions import override

from surgeon_engine.api.messages.benchmark import Measured, conditions
from surgeon_gui.base.theme import GAP, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.export_text import export_facts, speed_rows, speed_titles
from surgeon_gui.state.job.settings_list import settings
from surgeon_gui.state.report import has_report
from surgeon_gui.state.result_text import quality_facts
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.views.question import ReplaceQuestion
from surgeon_gui.views.run.course import CourseView
from surgeon_gui.views.run.save_section import SaveSection
from surgeon_gui.widgets.controls import (
    bold,
    button,
    heading,
    line_label,
    link,
    text_label,
)
from surgeon_gui.widgets.facts import Facts, align
from surgeon_gui.widgets.layouts import (
    STRETCH,
    Part,
    card,
    horizontal,
    in_column,
    in_grid,
    in_row,
    row_of,
    stack,
    vertical,
)

_COLUMNS = 4  # with the metric
_SMALLER = 0.85  # font scale of the spreads


class RunDetails(QWidget):
    """The links, and the section of the one that is checked.

    While a run is in progress, its course is shown without links.
    """

    layers_clicked = Signal()
    discard_clicked = Signal()
    opened = Signal(QWidget)  # a section, by the user

    def __init__(
        self, session: Session, report_row: QWidget, question: ReplaceQuestion
    ) -> None:
        super().__init__()
        self._state, self._now = session.state, 0.0
        self._shown: tuple[str, bool] | None = None  # the run, and whether it is busy
        self.course = CourseView()
        self._report = ReportSection(report_row)
        self.save = SaveSection(session, question)
        self._settings = SettingsSection(session)
        self._sections: dict[str, QWidget] = {
            "course": self.course,
            "report": card(self._report, margin=ROOM),
            "save": card(self.save, margin=ROOM),
            "settings": card(self._settings, margin=ROOM),
        }
        self._links = {name: self._link(name) for name in self._sections}
        layers = link("run_layers_link", self.layers_clicked)
        self._discard = link("run_discard_link", self.discard_clicked)
        course, report, save, chosen = self._links.values()
        self._row = LinkRow(
            (course, layers, report), (save, chosen, STRETCH, self._discard)
        )
        _, *closed = self._sections.values()
        vertical(self, self._row, (self.course, 1), *closed, STRETCH, spacing=ROOM)
        for section in self._sections.values():
            section.hide()

    def _link(self, name: str) -> QPushButton:
        made = link(f"run_{name}_link")
        made.setCheckable(True)
        made.toggled.connect(partial(self._on_toggled, name))
        made.clicked.connect(partial(self._on_clicked, name))
        return made

    def show_state(self, state: AppState, now: float) -> None:
        """Show the section that is open, and which there are."""
        self._state, self._now = state, now
        run = state.shown_run
        shown = (run.run, run.status.is_busy)
        if shown != self._shown:
            self._shown = shown
            self._begin(run)
        is_done = run.exported is not None and run.status is Status.FINISHED
        self._links["save"].setVisible(is_done)
        self._links["report"].setVisible(is_done or has_report(run))
        self._discard.setVisible(not run.computer and run.has_folder)
        for name in self._sections:
            self._draw(name)

    def _begin(self, run: RunState) -> None:
        """Close what is open, and show the course of a run that has no result."""
        status = run.status
        for made in self._links.values():
            made.setChecked(False)
        self._row.setHidden(status.is_busy or not run.run)
        self.course.setVisible(status.is_busy)
        if not status.is_busy and status not in (Status.IDLE, Status.FINISHED):
            self._links["course"].setChecked(True)

    def _draw(self, name: str) -> None:
        if self._sections[name].isHidden():
            return
        run = self._state.shown_run
        match name:
            case "course":
                self.course.show_run(run, self._now)
            case "report":
                self._report.show_run(run)
            case "save":
                self.save.show_state(self._state)
            case "settings":
                self._settings.show_run(run)

    def _on_toggled(self, name: str, is_open: bool) -> None:
        section = self._sections[name]
        section.setVisible(is_open)
        if not is_open:
            return
        for other, made in self._links.items():
            made.setChecked(other == name)
        self._draw(name)

    def _on_clicked(self, name: str) -> None:
        if self._links[name].isChecked():
            self.opened.emit(self._sections[name])


class LinkRow(QWidget):
    """Links in one line, or in two where there is no room for that."""

    def __init__(self, first: tuple[Part, ...], second: tuple[Part, ...]) -> None:
        super().__init__()
        self._halves = (in_row(*first, STRETCH), in_row(*second))
        self._box = horizontal(self, self._halves[0], (self._halves[1], 1))
        # Below each other, the stretch would let the halves grow apart.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        needed = sum(half.minimumSize().width() for half in self._halves) + GAP
        stack(self._box, is_stacked=event.size().width() < needed)

    @override
    def minimumSizeHint(self) -> QSize:
        width = max(half.minimumSize().width() for half in self._halves)
        return QSize(width, super().minimumSizeHint().height())


class ReportSection(QWidget):
    """All figures of the result, and the button that saves a report."""

    def __init__(self, report_row: QWidget) -> None:
        super().__init__()
        self._quality = Facts("result_quality")
        self._files = Facts("export_facts")
        self._speed = SpeedFacts()
        nothing = tr("The run ended before it removed anything.")
        self._nothing = text_label(nothing, quiet=True, name="report_nothing_note")
        parts = (self._quality, self._files, self._speed, self._nothing, report_row)
        vertical(self, *parts, spacing=ROOM)

    def show_run(self, run: RunState) -> None:
        """Show the figures of a run."""
        quality, files = quality_facts(run), export_facts(run)
        self._quality.show_facts(quality)
        self._files.show_facts(files)
        align(self._quality, self._files)
        self._speed.show_measured(run.measured)
        self._nothing.setHidden(bool(quality or files or run.measured))


class SettingsSection(QWidget):
    """The settings of a run, and a button that copies them to the next one."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setObjectName("run_settings")
        self._config: object = None
        self._groups: list[QWidget] = []
        self._columns = tuple(in_column(STRETCH, spacing=ROOM) for _ in range(2))
        use = button("copy_settings_button", session.use_settings)
        columns = in_row(*((each, 1) for each in self._columns), spacing=ROOM)
        vertical(self, row_of(use), columns, spacing=ROOM)

    def show_run(self, run: RunState) -> None:
        """Show the settings with which a run was started."""
        if run.config is None or run.config is self._config:
            return
        self._config = run.config
        for group in self._groups:
            group.hide()  # deletion is deferred
            group.deleteLater()
        self._groups.clear()
        found = settings(run.config)
        heights = [0, 0]
        for part in dict.fromkeys(each.part for each in found):
            rows = tuple((x.label, x.value) for x in found if x.part == part)
            shorter = heights.index(min(heights))
            heights[shorter] += len(rows) + 2
            self._groups.append(_group(part, rows))
            place = self._columns[shorter].count() - 1  # above the stretch
            self._columns[shorter].insertWidget(place, self._groups[-1])


def _group(title: str, rows: tuple[tuple[str, str], ...]) -> QWidget:
    made, facts = QWidget(), Facts("run_settings_facts")
    vertical(made, heading(title), facts)
    facts.show_facts(rows)
    return made


class SpeedFacts(QWidget):
    """A table, and how it was measured; hidden until there is a measurement."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: Measured | None = None
        self._table = QWidget()
        self._conditions = text_label(quiet=True, name="speed_conditions")
        parts = (heading(tr("Speed")), self._table, self._conditions)
        self._column = vertical(self, *parts)
        self.hide()

    def show_measured(self, measured: Measured | None) -> None:
        """Show the figures of a measurement; hidden for None."""
        self.setVisible(measured is not None)
        if measured is None or measured is self._shown:
            return
        self._shown = measured
        before, self._table = self._table, _table_of(measured)
        self._column.replaceWidget(before, self._table)
        before.setParent(None)  # deletion is deferred
        before.deleteLater()
        self._conditions.setText(conditions(measured))


def _table_of(measured: Measured) -> QWidget:
    """Return a table of figures, each with the spread over its rounds below it.

                 Original        Pruned       Ratio
    Prompt          1,204         1,530        1.27
    tokens/s  1,190-1,220   1,500-1,545   1.25-1.29
    """
    table = QWidget()
    table.setObjectName("speed_table")
    table.setAccessibleName(tr("Speed of the original and of the pruned model"))
    grid = in_grid(table, wide=_COLUMNS, beside=2 * GAP, below=0)
    for column, title in enumerate(speed_titles(measured), start=1):
        grid.addWidget(_label(title, column, is_quiet=True), 0, column)
    for number, cells in enumerate(speed_rows(measured)):
        row = 1 + 3 * number  # figure, spread, and the gap below
        for column, cell in enumerate(cells):
            figure = _label(cell.value, column, is_quiet=not column)
            below = _label(cell.below, column, is_quiet=True)
            if column:
                figure.setFont(bold(figure.font()))
            font = below.font()
            font.setPointSizeF(font.pointSizeF() * _SMALLER)
            below.setFont(font)
            grid.addWidget(figure, row, column)
            grid.addWidget(below, row + 1, column)
        grid.setRowMinimumHeight(row + 2, GAP // 2)
    return table


def _label(text: str, column: int, *, is_quiet: bool) -> QLabel:
    label = line_label(text, quiet=is_quiet)
    if column:
        label.setAlignment(Qt.AlignmentFlag.AlignRight)
    return label
