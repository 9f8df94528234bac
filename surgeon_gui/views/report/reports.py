"""Writes reports: where the user wants them, and one at the end of each run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.errors import RunFolderError
from surgeon_engine.api.files import write_atomically
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.base.background import Background
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.report import (
    Picture,
    Surroundings,
    is_worth_a_report,
    report_html,
)
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.state.runs.text import title
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.report.pdf import pdf_of
from surgeon_gui.views.report.pictures import RunPictures
from surgeon_gui.widgets.dialogs import ask_new_file

PDF = ".pdf"


class _ReportTask(NamedTuple):
    run: RunState
    name: str
    path: Path


@dataclass(slots=True)
class _Drawing:
    """A task whose charts are being drawn."""

    task: _ReportTask
    versions: dict[str, str]
    pictures: list[Picture] = field(default_factory=list)
    left: Iterator[Picture] | None = None  # None: none has been drawn yet


class Reports(QObject):
    """Makes the reports of runs, one after the other.

    Charts are drawn here, one at a time so that the window never waits for long; the
    rest is done in the background.
    """

    written = Signal(str, str)  # the folder of the run, and where its report is

    def __init__(self, session: Session, runs: RunsController, window: QWidget) -> None:
        super().__init__(session)
        self._session, self._runs, self._window = session, runs, window
        self._reading, self._writing = Background(self), Background(self)
        self._pictures: RunPictures | None = None  # made when the first is wanted
        self._drawings: deque[_Drawing] = deque()
        session.run_ended.connect(self._on_run_ended)

    @property
    def can_report(self) -> bool:
        """Whether there is a run to tell of."""
        return is_worth_a_report(self._session.state.shown_run)

    @Slot()
    def ask_for_html(self) -> None:
        """Let the user save the report of the run that is shown as HTML."""
        self._ask("report_html_action", "report.html")

    @Slot()
    def ask_for_pdf(self) -> None:
        """Let the user save the report of the run that is shown as PDF."""
        self._ask("report_pdf_action", "report.pdf")

    @Slot(str)
    def save(self, path: str) -> None:
        """Write the report of the run that is shown, in the form the ending names."""
        run = self._session.state.shown_run
        if is_worth_a_report(run):
            self._begin(_ReportTask(run, self._name_of(run), Path(path)))

    def finish_writing(self) -> None:
        """Complete the reports that have been begun, as the window closes."""
        while self._drawings:
            self._draw()
        self._writing.finish()

    def _ask(self, caption: str, name: str) -> None:
        if self.can_report:
            folder = Path(self._session.state.shown_run.folder)
            ask_new_file(
                self._window, CAPTIONS[caption].spoken, str(folder / name), self.save
            )

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        """Put a report beside the other files of a run that is complete."""
        folder = RunFolder(Path(run.folder))
        if run.status is Status.FINISHED and folder.report_path.exists():
            task = _ReportTask(run, self._name_of(run), folder.html_path)
            QTimer.singleShot(0, self, partial(self._begin, task))

    def _begin(self, task: _ReportTask) -> None:
        work = partial(_versions, task.run.folder)
        self._reading.start(work, partial(self._on_versions_read, task))

    def _on_versions_read(self, task: _ReportTask, versions: dict[str, str]) -> None:
        self._drawings.append(_Drawing(task, versions))
        if len(self._drawings) == 1:
            self._draw_next()

    @Slot()
    def _draw_next(self) -> None:
        """Draw one chart, and let the window do something else before the next."""
        if self._drawings:  # unless they were completed as the window closed
            self._draw()
        if self._drawings:
            QTimer.singleShot(0, self, self._draw_next)

    def _draw(self) -> None:
        """Draw one chart of the first report that waits, or hand it on."""
        if self._pictures is None:
            self._pictures = RunPictures(self._window)  # takes as long as to draw one
            return
        drawing = self._drawings[0]
        if drawing.left is None:
            drawing.left = self._pictures.of(drawing.task.run)
        picture = next(drawing.left, None)
        if picture is not None:
            drawing.pictures.append(picture)
            return
        self._drawings.popleft()
        around = Surroundings(drawing.task.name, drawing.versions, drawing.pictures)
        work = partial(_write, drawing.task, around)
        self._writing.start(work, partial(self._on_written, drawing.task))

    def _on_written(self, task: _ReportTask, problem: str) -> None:
        if problem:
            words = tr("The report cannot be written: {reason}.")
            hint = tr("Choose a folder that you may write to.")
            self._session.show_problem(Failed(words.format(reason=problem), hint))
        else:
            self.written.emit(task.run.folder, str(task.path))

    def _name_of(self, run: RunState) -> str:
        record = self._runs.state.record(run.folder)
        unnamed = RunRecord(run.folder, RunOutcome.FINISHED, config=run.config)
        return title(record or unnamed)


def _versions(folder: str) -> dict[str, str]:
    """Of the libraries that a run stood on; empty where it was not completed."""
    try:
        return RunFolder(Path(folder)).read_report().versions
    except RunFolderError:
        return {}


def _write(task: _ReportTask, around: Surroundings) -> str:
    """Write the report; why that is not possible, or nothing."""
    html = report_html(task.run, around)
    is_pdf = task.path.suffix.lower() == PDF
    data = pdf_of(html, task.name) if is_pdf else html.encode()
    try:
        write_atomically(task.path, data)
    except OSError as error:
        return error.strerror or str(error)
    return ""
