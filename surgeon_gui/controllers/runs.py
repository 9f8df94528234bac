"""The history of runs: reads, opens, resumes, renames, duplicates and deletes them.

Folders are read and runs are opened in a background thread.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from send2trash import send2trash

from surgeon_engine.api.litter import remove_litter
from surgeon_engine.api.messages.events import Cancelled, Envelope, Failed
from surgeon_engine.api.messages.run import (
    Recovered,
    RunFinished,
    RunResumed,
    RunStarted,
    ShotFinished,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.files import expand_path
from surgeon_gui.base.background import Background
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.replacing import export_in_the_way
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs import state as runs_state
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.parts import RunPart, delete_part
from surgeon_gui.state.runs.reading import (
    RunOutcome,
    RunRecord,
    UnreadableRunError,
    is_run,
    read_record,
    read_runs,
    read_state,
    tidy_name,
    write_text,
)
from surgeon_gui.state.runs.state import RunsState

# Events that change the record of a run in its folder.
_RECORDED = (
    RunStarted,
    RunResumed,
    ShotFinished,
    Recovered,
    RunFinished,
    Failed,
    Cancelled,
)


# The content of a run folder; its state is None if it cannot be read.
_Opened = tuple[RunRecord, RunState | None]


class RunsController(QObject):
    """Hold the list of runs and change it."""

    changed = Signal()  # the list is a different one
    opened = Signal()  # an earlier run is shown
    held_elsewhere = Signal(object, object)  # RunRecord; Holder, on another computer
    replace_asked = Signal(str, object)  # folder, what to do after yes

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session, self._report = session, session.store.report
        self._reading, self._deleting = Background(self), Background(self)
        self._is_reading = False
        self._reads_again = False
        self._has_looked = False  # for a run in progress
        self._asked = 0  # the latest request to open or resume a run
        self.state = RunsState()
        session.changed.connect(self._on_session_changed)
        session.events_arrived.connect(self._on_events_arrived)
        self._on_session_changed()

    @Slot()
    def refresh(self) -> None:
        """Read the folder of runs; if it is being read, read it again afterwards."""
        if self._is_reading:
            self._reads_again = True
            return
        self._is_reading = True
        parent = self.state.parent
        known = {record.folder: record for record in self.state.records}
        work = partial(_read, expand_path(parent), known)
        self._reading.start(work, partial(self._on_read, parent), self._on_not_read)

    def tick(self, folder: str, is_on: bool) -> None:
        """Add a run to the comparison, or remove it."""
        self._set(runs_state.with_tick(self.state, folder, is_on))

    def tick_only(self, folders: tuple[str, ...]) -> None:
        """Compare exactly these runs."""
        self._set(replace(self.state, ticked=folders))

    def rename(self, folder: str, name: str) -> None:
        """Rename a run; an empty name restores the default."""
        message = tr("The name cannot be written: {reason}.")
        self._write(RunFolder(Path(folder)).name_path, tidy_name(name), message)

    def set_notes(self, folder: str, notes: str) -> None:
        """Change the notes of a run."""
        message = tr("The notes cannot be written: {reason}.")
        self._write(RunFolder(Path(folder)).notes_path, notes.strip(), message)

    def set_tags(self, folder: str, tags: tuple[str, ...]) -> None:
        """Change the tags of a run."""
        message = tr("The tags cannot be written: {reason}.")
        self._write(RunFolder(Path(folder)).tags_path, "\n".join(tags), message)

    def duplicate(self, folder: str) -> None:
        """Load the settings of a run into the draft."""
        record = self.state.record(folder)
        if record is not None and record.config is not None:
            self._session.use_job(record.config)

    @property
    def in_view(self) -> str:
        """Folder of the run whose page is shown; empty if there is none."""
        return self._session.state.shown_run.folder

    def reopen(self, folder: str) -> None:
        """Open a run with all its charts."""
        if self._is_in_progress(folder):
            self._session.close_opened_run()
            self.opened.emit()
            return
        self._asked += 1
        work = partial(_open, Path(folder))
        self._reading.start(work, partial(self._on_reopened, self._asked))

    def resume(self, folder: str) -> None:
        """Resume an interrupted run."""
        self._asked += 1
        self._reading.start(partial(_open, Path(folder)), self._on_read_to_resume)

    def take_over(self, folder: str) -> None:
        """Let this computer go on with a run on which another one works no longer."""
        try:
            RunFolder(Path(folder)).take_over()
        except EngineError as error:
            self._report(error.message, error.hint)
        self.refresh()

    def dismiss(self, folder: str) -> None:
        """Stop offering an interrupted run; the list still has it."""
        dismissed = (*self.state.dismissed, folder)
        self._set(replace(self.state, dismissed=dismissed))

    def delete_part(self, folder: str, part: RunPart) -> None:
        """Delete a part of a run that takes space."""
        if obstacle := self.delete_obstacle(folder):
            self._report(obstacle, tr("Wait until it ends, or cancel it."))
            return
        if RunFolder(Path(folder)).is_being_worked_on:  # since the list was read
            self._report(tr("The run is in progress."), tr("Wait until it ends."))
            return
        work = partial(delete_part, Path(folder), part)
        self._deleting.start(work, self._on_part_deleted)

    def delete_obstacle(self, folder: str) -> str:
        """Return why a run cannot be deleted; empty if it can."""
        state, record = self._session.state, self.state.record(folder)
        is_used = self._is_in_progress(folder)
        is_used |= state.task is not None and state.request(state.task).folder == folder
        if is_used or (record and record.outcome is RunOutcome.RUNNING):
            return tr("The run is in progress, or its files are in use.")
        return ""

    def delete(self, folder: str) -> None:
        """Move the folder of a run to the trash."""
        if obstacle := self.delete_obstacle(folder):
            self._report(obstacle, tr("Wait until it ends, or cancel it."))
            return
        work = partial(_to_trash, folder)
        self._deleting.start(work, partial(self._on_deleted, folder))

    def finish_deleting(self) -> None:
        """Wait for deletions in progress, before the window closes."""
        self._deleting.finish()

    def _write(self, path: Path, text: str, message: str) -> None:
        try:
            write_text(path, text)
        except OSError as error:
            self._report(
                message.format(reason=error.strerror),
                tr("Check whether the run folder is writable."),
            )
            return
        self.refresh()

    def _on_part_deleted(self, problem: str) -> None:
        if problem:
            message = tr("The files cannot be deleted: {reason}.")
            hint = tr("Check whether the run folder is writable.")
            self._report(message.format(reason=problem), hint)
        self._session.draft.recheck()  # it may be of the run in view
        self.refresh()

    def _on_not_read(self) -> None:
        """Allow the next reading; the exception is reported elsewhere."""
        self._is_reading = self._reads_again = False

    def _on_read(self, parent: str, found: tuple[RunRecord, ...] | str) -> None:
        self._is_reading = False
        if parent != self.state.parent:
            self.refresh()
            return
        if isinstance(found, str):
            self._set(
                replace(
                    self.state,
                    records=(),
                    ticked=(),
                    has_been_read=True,
                    problem=found,
                )
            )
        else:
            records = (*self._starting(found), *found)
            self._set(runs_state.with_records(self.state, records))
            self._follow_detached()
        if self._reads_again:
            self._reads_again = False
            self.refresh()

    def _starting(self, found: tuple[RunRecord, ...]) -> tuple[RunRecord, ...]:
        """Return the run of this window whose engine has not made its folder yet."""
        run = self._session.state.run
        is_here = Path(run.folder).parent == expand_path(self.state.parent)
        is_read = any(record.folder == run.folder for record in found)
        if run.computer or not run.status.is_busy or not is_here or is_read:
            return ()
        running = RunOutcome.RUNNING
        return (RunRecord(run.folder, running, config=run.config, began=run.began),)

    def _follow_detached(self) -> None:
        """Follow a detached run in progress, at the start of the window."""
        state, has_looked = self._session.state, self._has_looked
        self._has_looked = True
        if has_looked or state.shows_run or state.computer:
            return
        for record in self.state.records:
            is_running = record.outcome is RunOutcome.RUNNING and not record.problem
            if is_running and record.is_detached:
                self.reopen(record.folder)
                return

    @Slot()
    def forget_opening(self) -> None:
        """Open no run that was asked for before."""
        self._asked += 1

    def _on_reopened(self, asked: int, found: _Opened) -> None:
        if asked == self._asked:
            self._on_opened(found)

    def _on_opened(self, found: _Opened) -> None:
        record, run = found
        title, use = self.state.title(record), RunFolder(Path(record.folder)).use
        if run is None:
            message = tr("{run} cannot be opened. {reason}")
            hint = tr(
                "The files in {folder} were changed, or made by another version of "
                "Surgeon."
            ).format(folder=record.folder)
            self._report(
                message.format(run=title, reason=record.problem),
                f"{hint} {run_text.usable_parts(record)}",
            )
        elif use is not None and use.is_elsewhere:
            self.held_elsewhere.emit(record, use.holder)
        elif run.status.is_busy and self._is_in_progress(record.folder):
            self.opened.emit()
        elif run.status.is_busy and self._session.state.is_busy:
            message = tr("{run} is in progress, too, in another window or program.")
            hint = tr("Open it when nothing else is in progress here.")
            self._report(message.format(run=title), hint)
        elif run.status.is_busy and run.config is not None:
            self._session.follow_run(record.folder, run.config, run)
            self.opened.emit()
        else:
            self._session.reopen(run, title)
            self.opened.emit()

    def _is_in_progress(self, folder: str) -> bool:
        run = self._session.state.run
        return run.status.is_busy and run.folder == folder

    def _on_read_to_resume(self, found: _Opened) -> None:
        _, run = found
        if run is None or run.status.is_busy:
            self._on_opened(found)  # shows the reason
        elif folder := export_in_the_way(run.config):
            resume = partial(self._resume, run, may_replace=True)
            self.replace_asked.emit(folder, resume)
        else:
            self._resume(run)

    def _resume(self, run: RunState, *, may_replace: bool = False) -> None:
        self._session.resume_run(run, may_replace=may_replace)
        if self._session.state.run.folder == run.folder:  # else the reason is shown
            self.opened.emit()

    def _on_deleted(self, folder: str, problem: str) -> None:
        if problem:
            message = tr("The run could not be moved to the trash: {reason}.")
            hint = tr("It was not deleted. To delete it permanently, remove {folder}.")
            self._report(message.format(reason=problem), hint.format(folder=folder))
        else:
            self._session.forget_run(folder)
        self.refresh()

    @Slot()
    def _on_session_changed(self) -> None:
        parent = self._session.state.run_parent
        if parent != self.state.parent:
            self._set(RunsState(parent))
            self.refresh()
        run = self._session.state.run
        live = (run.folder, int(100 * run.progress)) if run.status.is_busy else ("", 0)
        has_begun = live[0] not in ("", self.state.live[0])
        self._set(replace(self.state, live=live))
        if has_begun:
            self.refresh()

    @Slot(object)
    def _on_events_arrived(self, batch: list[Envelope]) -> None:
        run = self._session.state.run
        for envelope in batch:
            is_first = isinstance(envelope.event, StageStarted) and run.model is None
            if envelope.run == run.run and (
                is_first or isinstance(envelope.event, _RECORDED)
            ):
                self.refresh()
                return

    def _set(self, state: RunsState) -> None:
        if state != self.state:
            self.state = state
            self.changed.emit()


def _read(parent: Path, known: dict[str, RunRecord]) -> tuple[RunRecord, ...] | str:
    remove_litter(parent)
    try:
        return read_runs(parent, known)
    except OSError as error:
        message = tr("{folder} cannot be read: {reason}.")
        return message.format(folder=parent, reason=error.strerror)


def _open(folder: Path) -> _Opened:
    record = read_record(folder)
    if not is_run(folder):
        problem = tr("The folder contains no run.")
        damaged = RunRecord(str(folder), RunOutcome.DAMAGED, problem=problem)
        return damaged, None
    try:
        return record, read_state(folder)
    except UnreadableRunError:
        return record, None


def _to_trash(folder: str) -> str:
    """Move a folder to the trash; return the error, empty if there is none."""
    if RunFolder(Path(folder)).is_being_worked_on:  # since the list was read
        return tr("The run is in progress.").rstrip(".")
    try:
        send2trash(folder)
    except OSError as error:
        return error.strerror or str(error)
    return ""
