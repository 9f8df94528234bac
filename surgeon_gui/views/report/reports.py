"""Write reports: on request, and one in the folder of each run that completes.

A row of the page of a run has the button, and a note after a report was saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.base.files import write_atomically
from surgeon_gui.base.background import Background
from surgeon_gui.base.paths import with_tilde
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.report import has_report, report_html
from surgeon_gui.state.report_parts import Picture
from surgeon_gui.state.result_text import name_of
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.text import title
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.report.pdf import html_to_pdf
from surgeon_gui.views.report.pictures import RunPictures
from surgeon_gui.widgets.controls import button, eliding_label, show_elided
from surgeon_gui.widgets.dialogs import ask_new_file, open_folder
from surgeon_gui.widgets.layouts import in_row, row_of, vertical

PDF = ".pdf"


@dataclass(slots=True)
class _Report:
    """A report to write, with what was read and drawn for it so far."""

    run: RunState
    name: str
    path: Path
    is_asked: bool = False  # by the user
    pictures: list[Picture] = field(default_factory=list)
    remaining: Iterator[Picture] | None = None  # None before the first chart


class Reports(QObject):
    """Writes reports one after the other.

    Draws the charts in the window's thread, one per turn of the event loop, and does
    the rest in the background.
    """

    written = Signal(str, str)  # folder of the run, path of its report

    def __init__(self, session: Session, runs: RunsController, window: QWidget) -> None:
        super().__init__(session)
        self._session, self._runs, self._window = session, runs, window
        self._writing = Background(self)
        self._pictures: RunPictures | None = None  # made for the first report
        self._drawn: deque[_Report] = deque()
        session.run_ended.connect(self._on_run_ended)

    @property
    def can_report(self) -> bool:
        """True if the run that is shown has a report."""
        return has_report(self._session.state.shown_run)

    def ask(self, kind: str) -> None:
        """Ask where to save the report of the shown run, as "html" or "pdf"."""
        if self.can_report:
            run, name = self._session.state.shown_run, f"report.{kind}"
            path = name if run.computer else str(Path(run.folder) / name)
            title = CAPTIONS[f"report_{kind}_action"].spoken
            ask_new_file(self._window, title, path, self.save)

    @Slot(str)
    def save(self, path: str) -> None:
        """Write the report of the shown run to `path`; the suffix gives the format."""
        run = self._session.state.shown_run
        if has_report(run):
            self._begin(_Report(run, self._name_of(run), Path(path), is_asked=True))

    def finish_writing(self) -> None:
        """Finish all reports that were started; blocks until they are written."""
        while self._drawn:
            self._draw()
        self._writing.finish()

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        if run.computer:  # its folder is there
            return
        folder = RunFolder(Path(run.folder))
        if run.status is Status.FINISHED and folder.report_path.exists():
            self._begin(_Report(run, self._name_of(run), folder.html_path))

    def _begin(self, report: _Report) -> None:
        self._drawn.append(report)
        if len(self._drawn) == 1:
            QTimer.singleShot(0, self, self._draw_next)

    @Slot()
    def _draw_next(self) -> None:
        if self._drawn:  # empty if the window has finished them as it closed
            self._draw()
        if self._drawn:
            QTimer.singleShot(0, self, self._draw_next)

    def _draw(self) -> None:
        """Draw a chart of the first report, or write the report if none remains."""
        if self._pictures is None:
            self._pictures = RunPictures(self._window)  # takes as long as one chart
            return
        report = self._drawn[0]
        if report.remaining is None:
            report.remaining = self._pictures.of(report.run)
        picture = next(report.remaining, None)
        if picture is not None:
            report.pictures.append(picture)
            return
        self._drawn.popleft()
        self._writing.start(partial(_write, report), partial(self._on_written, report))

    def _on_written(self, report: _Report, problem: str) -> None:
        if problem:
            message = tr("The report cannot be written: {reason}.")
            hint = tr("Choose a folder that you may write to.")
            self._session.store.report(message.format(reason=problem), hint)
        else:
            self.written.emit(report.run.folder, str(report.path))
            if report.is_asked:
                text = tr("The report was saved to {path}.")
                text = text.format(path=with_tilde(report.path))
                self._session.store.note(text, str(report.path))

    def _name_of(self, run: RunState) -> str:
        record = self._runs.state.record(run.folder)
        return title(record) if record is not None else name_of(run)


def _versions(folder: str) -> dict[str, str]:
    """Return the library versions of a run; empty if it did not complete."""
    try:
        return RunFolder(Path(folder)).read_report().versions
    except RunFolderError:
        return {}


def _write(report: _Report) -> str:
    """Write the report; return the reason if that fails, else an empty string."""
    versions = _versions(report.run.folder)
    html = report_html(report.run, report.name, versions, report.pictures)
    is_pdf = report.path.suffix.lower() == PDF
    data = html_to_pdf(html, report.name) if is_pdf else html.encode()
    try:
        write_atomically(report.path, data)
    except OSError as error:
        return error.strerror or str(error)
    return ""


class ReportRow(QWidget):
    """Hidden while there is no run to report about."""

    def __init__(self) -> None:
        super().__init__()
        self._run_folder = ""  # folder of the run shown
        self._written: tuple[str, str] = ("", "")  # folder of its run, path
        self.save = button("report_button")
        self._note = eliding_label("report_note", quiet=True, keeps_end=True)
        self._open = button("report_open_button", self._on_open_clicked)
        below = in_row((self._note, 1), self._open)
        vertical(self, row_of(self.save), below)
        self._update_note()

    def show_run(self, run: RunState, *, can_report: bool) -> None:
        """Show the row for `run`; hide it unless `can_report`."""
        self.setVisible(can_report)
        if run.folder != self._run_folder:
            self._run_folder = run.folder
            self._update_note()

    @Slot(str, str)
    def show_written(self, folder: str, path: str) -> None:
        """Show that the report of the run in `folder` was saved as `path`."""
        self._written = (folder, path)
        self._update_note()

    def _update_note(self) -> None:
        folder, path = self._written
        is_shown = bool(path) and folder == self._run_folder
        self._note.setVisible(is_shown)
        self._open.setVisible(is_shown)
        if is_shown:
            text = tr("Saved {name}.").format(name=Path(path).name)
            show_elided(self._note, text, path)

    @Slot()
    def _on_open_clicked(self) -> None:
        open_folder(self._written[1])  # opens files too, in their own application
