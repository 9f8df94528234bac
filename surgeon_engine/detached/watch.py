"""Follow the log of a run until it ends, and pass commands on to the run.

Whatever process works on the run: it holds the lock of the folder. A run whose lock is
free without a last event has crashed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise

import msgspec
import psutil
from msgspec.structs import replace

from surgeon_engine.api.client import CANCEL_TIMEOUT_S
from surgeon_engine.api.litter import is_complete, log_cancel
from surgeon_engine.api.messages.commands import (
    Cancel,
    Control,
    ResumeRun,
    StartRun,
    Watch,
)
from surgeon_engine.api.messages.events import (
    OF_PROGRESS,
    Cancelled,
    Envelope,
    Event,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.requests import RUN_ENDS
from surgeon_engine.api.messages.run import (
    RunFinished,
    RunResumed,
    RunStarted,
    StageStarted,
)
from surgeon_engine.api.run_commands import add_command
from surgeon_engine.api.run_folder import LOG_HEADER, RunFolder
from surgeon_engine.base.errors import EngineError, RunFolderError, UnreadableFileError
from surgeon_engine.base.files import check_exists, expand_path
from surgeon_engine.base.json_process import kill_process_tree
from surgeon_engine.base.path_problems import unusable
from surgeon_engine.base.paths import check_path
from surgeon_engine.base.process_lock import Holder
from surgeon_engine.base.reading import read_tail
from surgeon_engine.base.sealed_json import decode_sealed_line
from surgeon_engine.base.sentences import Sentence, say, say_all
from surgeon_engine.detached.start import start_run

_POLL_SECONDS = 0.1
_LAST_SECONDS = 1.0  # a run may log its end after it has released the lock
_READ_BYTES = 4 << 20  # at once
_OUTPUT_BYTES = 8_000


class RunWatch:
    """Follow a run. `handle` may be called from another thread.

    `offset` bytes of its log are left out. After `cancel_seconds`, a run that ignores a
    cancel is killed.
    """

    def __init__(
        self,
        run: RunFolder,
        offset: int = 0,
        cancel_seconds: float = CANCEL_TIMEOUT_S,
    ) -> None:
        self._run, self._offset = run, offset
        self._cancel_seconds = cancel_seconds
        self._kill_at: float | None = None  # None: it is not cancelled
        self._log_problem = ""  # a warning that the log could not be written

    def handle(self, command: Control) -> None:
        """Pass a command on to the run.

        Raises:
            EngineError, OSError: It cannot be written into the folder of the run.
        """
        if isinstance(command, Cancel) and self._kill_at is None:
            self._kill_at = time.monotonic() + self._cancel_seconds
        add_command(self._run, command)

    def events(self) -> Iterator[Envelope]:
        """Yield the events of the run, up to its end.

        The end of an earlier process, after which the run was resumed, is left out.

        Raises:
            EngineError: There is no run, or its log cannot be read.
        """
        if self._run.use is None and not self._run.has_config:
            check_exists(self._run.path, RunFolderError)
            raise RunFolderError(
                "There is no run in {path}.",
                "Choose a folder that holds a run.toml.",
                path=self._run.path,
            )
        end: Envelope | None = None  # unless the run goes on after it
        free_since = None
        while True:
            is_free = self._run.use is None  # asked first: the run may end meanwhile
            before = self._offset
            for envelope in self._new_events():
                if isinstance(envelope.event, RUN_ENDS):
                    end = envelope
                    continue
                if isinstance(envelope.event, StageStarted | RunResumed):
                    end = None
                yield envelope
            if self._offset > before:
                continue
            now = time.monotonic()
            free_since = (free_since or now) if is_free else None
            if free_since is not None and (end or now > free_since + _LAST_SECONDS):
                for event in (end.event,) if end else self._lost_end():
                    yield end or Envelope("", time.time(), event, self._offset)
                return
            if self._kill_at is not None and now > self._kill_at:
                _kill(self._run)
            time.sleep(_POLL_SECONDS)

    def _new_events(self) -> Iterator[Envelope]:
        """Yield the new events, without progress that later progress replaces."""
        for line, following in pairwise((*self._new_lines(), b"")):
            self._offset += len(line)
            if OF_PROGRESS in line and OF_PROGRESS in following:
                continue
            try:
                envelope = decode_sealed_line(line, Envelope)
            except msgspec.MsgspecError as error:
                message = say(
                    "A line of {path} is damaged: {error:clause}.",
                    path=self._run.events_path,
                    error=error,
                )
                event = Logged(Level.WARNING, message)
                envelope = Envelope("", time.time(), event)
            match envelope.event:
                case RunStarted():  # the run may have been moved
                    started = replace(envelope.event, folder=str(self._run.path))
                    envelope = replace(envelope, event=started)
                case RunResumed():
                    self._log_problem = ""
                case Logged(message=Sentence(values={"path": str(path), "reason": _})):
                    if path.endswith(self._run.events_path.name):
                        self._log_problem = envelope.event.message
            yield replace(envelope, offset=self._offset)

    def _new_lines(self) -> list[bytes]:
        lines, size = [], 0
        if not os.path.lexists(self._run.events_path):
            return []
        for line in self._run.log_lines(self._offset):
            size += len(line)
            if not line.endswith(b"\n"):
                break  # it is being written
            lines.append(line)
            if size > _READ_BYTES:
                break
        self._offset = self._offset or len(LOG_HEADER)  # checked once
        return lines

    def _lost_end(self) -> Iterator[Event]:
        """Yield how a run has ended whose log does not say it."""
        if self._kill_at is not None:
            log_cancel(self._run)  # for later watchers
            yield Cancelled()
            return
        if is_complete(self._run):
            message = say("The run is complete, but the end of its log is missing.")
            yield Logged(Level.WARNING, message)
            report = self._run.read_report()
            yield RunFinished(False, report.seconds, report.peak_memory_bytes)
            return
        output = ""
        with suppress(UnreadableFileError):
            output = read_tail(self._run.output_path, _OUTPUT_BYTES)
        hint = say("Other programs may need too much memory.")
        message = say(
            "The run has ended early: its process was killed, or has crashed."
        )
        if reason := self._log_problem:
            hint = say("Check your rights and the free space there.")
            message = say(
                "The log lacks the end of the run: {reason:clause}.", reason=reason
            )
        if self._run.saved_state.exists:
            resume = say("Resume the run: it goes on from what it has saved.")
            hint = say_all(hint, resume)
        yield Failed(message, hint, output.strip())


class RunFollower:
    """Start a run if that is asked for, and send its events until it ends.

    After `cancel_seconds`, a run that ignores a cancel is killed.
    """

    def __init__(
        self,
        command: StartRun | ResumeRun | Watch,
        send: Callable[[Envelope], object],
        start: Callable[[StartRun | ResumeRun], None] = start_run,
        cancel_seconds: float = CANCEL_TIMEOUT_S,
    ) -> None:
        self._command, self._send, self._start = command, send, start
        offset = command.offset if isinstance(command, Watch) else 0
        run = RunFolder(expand_path(command.folder))
        self._watch = RunWatch(run, offset, cancel_seconds)
        self._lock = threading.Lock()
        self._waiting: list[Control] | None = []  # until the run has begun

    def handle(self, command: Control) -> None:
        """Pass a command on to the run; callable from any thread."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.append(command)
                return
        try:
            self._watch.handle(command)
        except (EngineError, OSError) as error:
            message = say(
                "The command {command} was not passed to the run: {error:clause}.",
                command=type(command).__name__,
                error=error,
            )
            self._emit(Logged(Level.WARNING, message))

    def work(self) -> None:
        """Follow the run until it ends."""
        try:
            check_path(say("The folder"), self._command.folder)
            if not isinstance(self._command, Watch):
                self._start(self._command)
            with self._lock:
                waiting, self._waiting = self._waiting or [], None
            for command in waiting:
                self.handle(command)
            for envelope in self._watch.events():
                self._send(replace(envelope, run=self._command.run))
        except EngineError as error:
            self._emit(Failed(error.message, error.hint))
        except OSError as error:
            message = unusable(self._command.folder, error)
            self._emit(
                Failed(message, say("Check your rights and the free space there."))
            )

    def _emit(self, event: Event) -> None:
        self._send(Envelope(self._command.run, time.time(), event))


def _kill(run: RunFolder) -> None:
    """Kill the process that works on a run, with everything it has started."""
    use = run.use
    holder = use.holder if use is not None and not use.is_elsewhere else None
    if holder is None or not holder.is_alive_here or holder.pid == os.getpid():
        return
    if _has_open(holder, run):
        kill_process_tree(holder.pid)


def _has_open(holder: Holder, run: RunFolder) -> bool:
    """Return whether a process has a lock open: its file could name any process."""
    try:
        opened = psutil.Process(holder.pid).open_files()
        return any(run.process_path.samefile(x.path) for x in opened)
    except (psutil.Error, OSError):
        return False
