"""The queue: adds jobs, starts one after the other, keeps the waiting ones on disk.

The next run begins when the engine is idle and has probed the machine since the last
run. That is checked after each change of the session, once all of its listeners have
seen the change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal, Slot

from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.run_folder import RunFolder, new_run_folder
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.files import expand_path
from surgeon_engine.base.process_lock import Holder, LockedError
from surgeon_gui.base.background import Background
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import Engine
from surgeon_gui.state.queue import checks
from surgeon_gui.state.queue import state as queue_state
from surgeon_gui.state.queue.file import QueueFile, UnreadableQueueError
from surgeon_gui.state.queue.state import QueuedRun, QueueState, QueueStatus
from surgeon_gui.state.queue.text import run_name
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.reading import (
    UnreadableRunError,
    has_saved_state,
    read_state,
)
from surgeon_gui.text.problems import Kind, Problem, of_error, sentence


class QueueController(QObject):
    """Hold the queue of the runs folder and work it off."""

    changed = Signal()
    begun = Signal()  # the user has started the queue
    ended = Signal(object)  # QueueState: complete, or stopped after a run

    def __init__(self, session: Session, runs: RunsController) -> None:
        super().__init__(session)
        self._session, self._runs = session, runs
        self._reading = Background(self)
        self._parent = ""  # the runs folder whose queue this is
        self._file = QueueFile(Path())
        self.elsewhere: Holder | None = None  # the queue's holder on another computer
        self._begun: set[str] = set()  # ids of runs that the queue has begun
        self._canceled = ""  # the id of the last run that was canceled
        self._is_probed = True  # the machine, since the last run
        self.state = QueueState()
        session.changed.connect(self._on_session_changed)
        session.changed.connect(self._go_on, Qt.ConnectionType.QueuedConnection)
        session.events_arrived.connect(self._on_events_arrived)
        session.run_ended.connect(self._on_run_ended)
        self._on_session_changed()

    @property
    def is_taken(self) -> bool:
        """True if another window has the queue."""
        return self._file.use is not None

    # user actions

    def add_obstacle(self) -> Problem | None:
        """Return why the draft cannot be added; None if it can."""
        if obstacle := checks.add_obstacle(self._session.state, self.state):
            return obstacle
        return Problem(Kind.QUEUE_TAKEN) if self.is_taken else None

    @Slot()
    def add_draft(self) -> None:
        """Add the draft at the end of the queue."""
        if self.add_obstacle():
            return
        state = self._session.state
        check = state.resource_check
        estimate = check.estimate if check is not None else None
        run = QueuedRun(
            run_name(state.config),
            state.config,
            estimate,
            may_replace=state.may_replace,
        )
        self.add([run])
        self._session.draft.allow_to_replace(False)

    def add(self, runs: Sequence[QueuedRun]) -> None:
        """Add runs; a new queue begins by itself after the run in progress."""
        if self.state.is_complete and not self._file.is_mine:
            self._load(self._parent)  # another window may have left its queue
        run = self._session.state.run
        begins = not self.state.next and run.status.is_busy and not self.holds(run)
        state = queue_state.with_added(self.state, runs)
        self._set(queue_state.working(state) if begins else state)

    def move(self, name: str, step: int) -> None:
        """Let a waiting run begin earlier (-1) or later (1)."""
        self._set(queue_state.with_moved(self.state, name, step))

    def retry(self, run: QueuedRun) -> None:
        """Let a failed run wait again; it goes on from its saved state, if it has one.

        A queue that another window has left meanwhile comes first, as in `add`.
        """
        if not self._file.is_mine and self._file.path.exists():
            self._load(self._parent)
            return
        folder = run.folder if run.folder and has_saved_state(run.folder) else ""
        self._set_status(run.name, QueueStatus.WAITING, problem="", folder=folder)

    def remove(self, name: str) -> None:
        """Remove a run that is not in progress."""
        self._set(queue_state.without(self.state, name))

    @Slot()
    def remove_all(self) -> None:
        """Remove all runs but the one in progress."""
        names = [run.name for run in self.state.runs]
        self._set(queue_state.without(self.state, *names))

    @Slot()
    def start(self) -> None:
        """Work the queue off; after the run in progress, if there is one."""
        if not self.state.is_complete:
            self._set(queue_state.working(self.state))
            self._go_on()
            self.begun.emit()

    @Slot()
    def stop(self) -> None:
        """Begin no further run; the one in progress goes on."""
        self._set(replace(self.state, is_working=False))

    @Slot()
    def dismiss_offer(self) -> None:
        """Stop offering the queue of an earlier start; the list still has it."""
        if self.elsewhere is not None:
            self.elsewhere = None
            self.changed.emit()
        self._set(replace(self.state, is_offered=False))

    @Slot()
    def take_over(self) -> None:
        """Take the queue of another computer, whose window is closed."""
        try:
            self._file.take_over()
        except (OSError, LockedError, UnreadableFileError) as error:
            self._report_not_written(error)
        self._load(self._parent)

    def holds(self, run: RunState) -> bool:
        """Return True if a run was started by the queue."""
        return run.run in self._begun

    def close(self) -> None:
        """Let another window have the queue."""
        self._file.release()

    # progress

    @Slot()
    def _go_on(self) -> None:
        """Begin the next run if nothing is in its way, or end the queue."""
        while self.state.is_working and self.state.current is None:
            app, run = self._session.state, self.state.next
            if run is None or app.engine is Engine.UNAVAILABLE:
                self._set(replace(self.state, is_working=False))
                self.ended.emit(self.state)
                return
            is_ready = app.machine is not None and self._is_probed
            if (
                app.computer
                or app.is_busy
                or app.engine is not Engine.READY
                or not is_ready
            ):
                return
            if run.folder and _is_in_progress(run.folder):
                follow = partial(self._session.follow_run, run.folder, run.config)
                self._begin(run.name, run.folder, follow)
            elif obstacle := checks.begin_obstacle(run, self._parent, app.machine):
                self._set_status(
                    run.name, QueueStatus.FAILED, problem=sentence(obstacle)
                )
            elif run.folder and has_saved_state(run.folder):
                self._resume(run)
            elif run.folder and RunFolder(Path(run.folder)).report_path.is_file():
                self._set_status(run.name, QueueStatus.FINISHED)  # resumed by the user
            else:
                self._start(run)

    def _start(self, run: QueuedRun) -> None:
        try:
            parent = expand_path(self._parent)
            folder = new_run_folder(parent, run.config)
        except OSError as error:
            problem = tr("{run_parent} cannot be used: {strerror}.").format(
                run_parent=self._parent, strerror=error.strerror
            )
            self._set_status(run.name, QueueStatus.FAILED, problem=problem)
            return
        estimate = run.estimate
        planned = estimate.seconds_of_stages if estimate is not None else {}
        start = partial(
            self._session.start_queued_run,
            run.config,
            folder,
            planned,
            may_replace=run.may_replace,
        )
        self._begin(run.name, str(folder), start)

    def _resume(self, run: QueuedRun) -> None:
        self._set_status(run.name, QueueStatus.RUNNING)
        work = partial(_interrupted_run, Path(run.folder))
        self._reading.start(work, partial(self._on_read, run))

    def _on_read(self, run: QueuedRun, found: RunState | str) -> None:
        if isinstance(found, str):
            self._set_status(run.name, QueueStatus.FAILED, problem=found)
        elif self._session.state.is_busy:  # the user was faster
            self._set_status(run.name, QueueStatus.WAITING)
        else:
            resume = partial(
                self._session.resume_run,
                found,
                may_replace=run.may_replace,
                of_queue=True,
            )
            self._begin(run.name, run.folder, resume)

    def _begin(self, name: str, folder: str, begin: Callable[[], None]) -> None:
        self._set_status(name, QueueStatus.RUNNING, folder=folder)
        begin()
        self._begun.add(self._session.state.run.run)

    def _set_status(self, name: str, status: QueueStatus, **changes: str) -> None:
        self._set(queue_state.with_status(self.state, name, status, **changes))

    def _mark(self, run: RunState, status: QueueStatus, problem: str = "") -> None:
        """Give a run its status in the queue, also if the user has resumed it."""
        for each in self.state.runs:
            if each.folder == run.folder and not run.computer:
                self._set_status(each.name, status, problem=problem)

    @Slot()
    def _on_session_changed(self) -> None:
        state, run = self._session.state, self._session.state.run
        if run.status is not Status.CANCELLING:
            if run.status.is_busy:
                self._mark(run, QueueStatus.RUNNING)
        elif run.run != self._canceled:
            # Now, because the window may close before the run has ended.
            self._canceled = run.run
            self._mark(run, QueueStatus.CANCELLED)
            is_offered = self.state.is_offered or self.state.is_working
            self._set(replace(self.state, is_working=False, is_offered=is_offered))
        is_at_work = self.state.is_working or self.state.current is not None
        if state.run_parent != self._parent and not is_at_work:
            self._load(state.run_parent)

    @Slot(object)
    def _on_events_arrived(self, batch: list[Envelope]) -> None:
        if any(isinstance(envelope.event, MachineProbed) for envelope in batch):
            self._is_probed = True

    @Slot(object)
    def _on_run_ended(self, run: RunState) -> None:
        self._is_probed = False
        problem = sentence(of_error(run.error)) if run.error is not None else ""
        status = QueueStatus(run.status.value)
        self._mark(run, status, problem)
        is_cancelled = run.status is Status.CANCELLED
        if self.holds(run) and not self.state.is_working and not is_cancelled:
            self.ended.emit(self.state)

    # the file

    def _load(self, parent: str) -> None:
        """Show the queue of another runs folder."""
        self._file.release()
        self._parent, self._file = parent, QueueFile(expand_path(parent))
        runs: tuple[QueuedRun, ...] = ()
        use = self._file.use
        self.elsewhere = use.holder if use is not None and use.is_elsewhere else None
        if use is None:
            try:
                runs = self._file.read()
            except UnreadableQueueError as error:
                self._report_damage(error)
            except LockedError:
                pass  # another window was faster
        self.state = queue_state.restored(runs)
        for run in self.state.waiting:
            if run.folder:  # the queue goes on with it
                self._runs.dismiss(run.folder)
        self.changed.emit()

    def _report_damage(self, error: UnreadableQueueError) -> None:
        kept = self._file.path.with_name("queue-damaged.json")
        with suppress(OSError):
            self._file.path.replace(kept)
        message = tr("The queue of {folder} cannot be read: {reason}.")
        hint = tr("Add its runs again. The file is kept as {file}.")
        self._session.store.report(
            message.format(folder=self._parent, reason=error),
            hint.format(file=kept.name),
        )

    def _set(self, state: QueueState) -> None:
        if state == self.state:
            return
        is_written = state.runs != self.state.runs
        self.state = state
        if is_written:
            try:
                self._file.write(() if state.is_complete else state.runs)
            except (OSError, LockedError, UnreadableFileError) as error:
                self._report_not_written(error)
        self.changed.emit()

    def _report_not_written(self, error: Exception) -> None:
        message = tr("The queue cannot be written: {reason}.")
        hint = tr("It is lost when Surgeon is closed. Free some space.")
        reason = getattr(error, "strerror", "") or str(error).rstrip(".")
        if isinstance(error, LockedError):
            reason = tr("Another window has the queue of this runs folder.").rstrip(".")
        self._session.store.report(message.format(reason=reason), hint)


def _is_in_progress(folder: str) -> bool:
    """Return whether a run has outlived the window that started it."""
    use = RunFolder(Path(folder)).use
    return use is not None and not use.is_elsewhere


def _interrupted_run(folder: Path) -> RunState | str:
    try:
        return read_state(folder)
    except UnreadableRunError as error:
        return str(error)
