"""Other computers: the list, the one whose engine is used, and copies of its runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from surgeon_engine.api.client import EngineClient
from surgeon_engine.api.fetch import FetchCancelled, fetch_run
from surgeon_engine.api.messages.commands import ListFiles, ListRuns
from surgeon_engine.api.messages.events import EngineStarted, Failed
from surgeon_engine.api.messages.files import RunEntry, RunOutcome, RunsListed
from surgeon_engine.api.remote import RemoteEngine
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.files import expand_path
from surgeon_engine.base.ssh import DEFAULT_COMMAND, Computer, ConnectionFailed
from surgeon_gui.base.background import Background
from surgeon_gui.base.settings import Settings
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import requested

_SEPARATOR = "\t"
_PROGRESS_MS = 300


def computers_of(settings: Settings) -> list[Computer]:
    """Return the other computers."""
    found = []
    for line in settings.computers:
        host, _, command = line.partition(_SEPARATOR)
        found.append(Computer(host, command or DEFAULT_COMMAND))
    return found


def client_of(settings: Settings) -> Callable[[], EngineClient] | None:
    """Return what connects with the chosen computer; None: it is this one."""
    for computer in computers_of(settings):
        if computer.host == settings.computer:
            return partial(RemoteEngine, computer)
    return None


class ComputersController(QObject):
    """Choose a computer, and copy runs from it."""

    changed = Signal()
    fetched = Signal(str)  # the folder of the copy

    def __init__(self, session: Session, settings: Settings, parent: QObject) -> None:
        super().__init__(parent)
        self.session, self._settings = session, settings
        self._background = Background(self)
        self._cancelling = threading.Event()
        self.fetching: RunEntry | None = None
        self.fetched_bytes = 0
        self.fetch_note = ""  # how the last copy has ended
        self._timer = QTimer(self, interval=_PROGRESS_MS)
        self._timer.timeout.connect(self.changed)
        self._started: EngineStarted | None = None  # whose runs were looked at
        session.changed.connect(self._on_session_changed)
        session.request_ended.connect(self._on_request_ended)

    @property
    def computers(self) -> list[Computer]:
        """The other computers."""
        return computers_of(self._settings)

    def add(self, host: str, command: str) -> str:
        """Add a computer, or change its command; return why that is impossible.

        Without a connection, the computer in use is tried again with its new command.
        """
        computer = Computer(host.strip(), command.strip() or DEFAULT_COMMAND)
        try:
            computer.check()
        except ConnectionFailed as error:
            return f"{error.message} {error.hint}"
        others = [each for each in self.computers if each.host != computer.host]
        self._store([*others, computer])
        state = self.session.state
        if computer.host == state.computer and not state.is_connected:
            client = client_of(self._settings)
            self.session.use_computer(computer.host, client, state.pace)
        return ""

    def remove(self, host: str) -> None:
        """Remove a computer that is not in use."""
        self._store([each for each in self.computers if each.host != host])
        self._remember_folder(host, "")

    def use_obstacle(self, host: str) -> str:
        """Return why a computer cannot be used now; empty if it can."""
        state = self.session.state
        if host == state.computer:
            return tr("It is in use.")
        if state.is_busy and not state.computer:
            return tr("Something is in progress on this computer. Wait until it ends.")
        return ""

    def use(self, host: str) -> None:
        """Use the engine of a computer; empty: of this one."""
        if self.use_obstacle(host):
            return
        self._settings.computer = host
        pace = 1.0 if host else self._settings.pace
        self.session.use_computer(host, client_of(self._settings), pace)
        self.changed.emit()

    def list_runs(self) -> None:
        """Request the runs of the computer in use."""
        self.fetch_note = ""
        folder = self.session.state.runs_folder
        self.session.store.start_request(
            RequestKind.RUNS, partial(ListRuns, folder=folder)
        )

    @Slot()
    def _on_session_changed(self) -> None:
        """Look for a run in progress on a computer that is used from now on."""
        started = self.session.state.started
        if started is not self._started:
            self._started = started
            if started is not None and not self.session.state.shows_run:
                self.list_runs()

    @Slot(object, object)
    def _on_request_ended(self, kind: RequestKind, request: Request[Any]) -> None:
        listed = request.response
        if not isinstance(listed, RunsListed) or self.session.state.shows_run:
            return
        for run in listed.runs:
            is_running = run.outcome is RunOutcome.RUNNING and run.is_detached
            if is_running and run.config is not None:
                self.session.follow_run(run.folder, run.config)
                return

    def list_files(self, folder: str) -> None:
        """Request the entries of a folder of the computer in use."""
        self.session.store.start_request(
            RequestKind.FILES, partial(ListFiles, folder=folder)
        )

    @property
    def last_folder(self) -> str:
        """The folder of the computer in use from which a file was last chosen."""
        host = f"{self.session.state.computer}{_SEPARATOR}"
        found = (x for x in self._settings.folders_there if x.startswith(host))
        return next(found, "").removeprefix(host)

    def remember_folder(self, folder: str) -> None:
        """Start the next dialog for files of the computer in use in a folder."""
        self._remember_folder(self.session.state.computer, folder)

    def resume(self, run: RunEntry) -> None:
        """Resume an interrupted run there, or show one that is in progress."""
        if run.config is None:
            return
        if run.outcome is RunOutcome.RUNNING:
            self.session.follow_run(run.folder, run.config)
            return
        earlier = requested("", run.config, run.folder, time.time())
        computer = self.session.state.computer
        self.session.resume_run(replace(earlier, computer=computer))

    def fetch(self, run: RunEntry, *, with_model: bool) -> None:
        """Copy a run into the runs folder of this computer."""
        computers = {each.host: each for each in self.computers}
        computer = computers.get(self.session.state.computer)
        if computer is None or self.fetching is not None:
            return
        parent = expand_path(self.session.state.run_parent)
        target = parent / PurePosixPath(run.folder).name
        self._cancelling.clear()
        self.fetching, self.fetched_bytes = run, 0
        self.fetch_note = ""
        self._timer.start()
        work = partial(self._fetch, computer, run, target, with_model)
        self._background.start(work, partial(self._on_fetched, str(target)))
        self.changed.emit()

    @Slot()
    def cancel_fetch(self) -> None:
        """Cancel the copy; nothing of it is kept."""
        self._cancelling.set()

    def finish(self) -> None:
        """Cancel the copy and wait, before the window closes."""
        self._cancelling.set()
        self._background.finish()

    def _fetch(
        self, computer: Computer, run: RunEntry, target: Path, with_model: bool
    ) -> Failed | None:

        def progress(received: int) -> None:
            if self._cancelling.is_set():
                raise FetchCancelled
            self.fetched_bytes = received

        try:
            fetch_run(
                computer,
                run,
                target,
                with_model=with_model,
                progress=progress,
            )
        except FetchCancelled:
            return Failed("")
        except EngineError as error:
            return Failed(error.message, error.hint)
        except OSError as error:
            message = tr("{folder} cannot be written: {reason}.")
            reason = error.strerror or str(error)
            message = message.format(folder=target.parent, reason=reason)
            return Failed(message, tr("Check the folder and its free space."))
        return None

    def _on_fetched(self, target: str, error: Failed | None) -> None:
        self._timer.stop()
        self.fetching = None
        if error is None:
            self.fetch_note = tr("Copied to {folder}").format(folder=target)
            self.fetched.emit(target)
        elif error.message:
            self.fetch_note = f"{error.message} {error.hint}".strip()
            self.session.store.show_problem(error)
        self.changed.emit()

    def _remember_folder(self, host: str, folder: str) -> None:
        start = f"{host}{_SEPARATOR}"
        others = [x for x in self._settings.folders_there if not x.startswith(start)]
        own = [f"{start}{folder}"] if folder else []
        self._settings.folders_there = [*others, *own]

    def _store(self, computers: list[Computer]) -> None:
        self._settings.computers = [
            f"{each.host}{_SEPARATOR}{each.command}" for each in computers
        ]
        self.changed.emit()
