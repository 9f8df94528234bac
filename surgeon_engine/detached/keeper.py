"""The keeper of a detached engine: `python -m surgeon_engine.detached.keeper`.

It starts one engine, writes the engine's lines to a file and passes them on to one
client at a time. The engine goes on when the client goes away. The keeper ends, and the
engine with it, when a client leaves and nothing is in progress, or when no client has
come for some minutes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
import platformdirs

from surgeon_engine.api.client import CANCEL_TIMEOUT_S, ENGINE_COMMAND
from surgeon_engine.api.messages.commands import (
    AT_ONCE,
    Cancel,
    Command,
    DownloadModel,
    Pause,
    Resume,
    ResumeRun,
    SearchHub,
    StartRun,
    StopAndKeep,
)
from surgeon_engine.api.messages.connection import (
    Attach,
    ClientMessage,
    Leave,
    Pong,
    ends,
)
from surgeon_engine.api.messages.events import (
    Attached,
    Cancelled,
    EngineEnded,
    EngineReady,
    Envelope,
    Event,
    Level,
    Logged,
    Ping,
    Refused,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.decoding import encode_json, json_decoder
from surgeon_engine.base.errors import EngineError, UnreadableFileError
from surgeon_engine.base.json_process import (
    MAX_LINE_BYTES,
    JsonProcess,
    kill_process_tree,
)
from surgeon_engine.base.reading import read_lines
from surgeon_engine.detached.lines import MAX_BYTES, Lines
from surgeon_engine.detached.place import DetachedError, Place

PING_SECONDS = 20.0
PONG_SECONDS = 60.0  # then a silent connection is closed
TAKEOVER_SECONDS = 5.0  # within which a client must respond to keep its place
IDLE_SECONDS = 600.0  # without work and without a client
_POLL_SECONDS = 0.2
_MAX_THREADS = 64  # of all connections
_FREQUENT = (b'"type":"Progressed"', b'"type":"MemorySampled"')  # most lines of a log
_NAMES = {DownloadModel: "The download", SearchHub: "The search"}  # in sentences
_LOCK_SECONDS = 1.0  # for an earlier keeper to end
_LOCK_POLL_SECONDS = 0.05


class Times(NamedTuple):
    """Durations in seconds; tests shorten them."""

    ping: float = PING_SECONDS
    pong: float = PONG_SECONDS
    takeover: float = TAKEOVER_SECONDS
    idle: float = IDLE_SECONDS
    cancel: float = CANCEL_TIMEOUT_S


_TIMES = Times()
_VERSION = version("surgeon")  # now: another one may be installed meanwhile


class _Line(NamedTuple):
    """A line of the engine."""

    text: bytes
    envelope: Envelope


class _Connection:
    """The connection with one client; its methods may be called from any thread."""

    def __init__(self, stream: socket.socket) -> None:
        self.client = ""  # empty: not attached yet
        self.since = time.time()
        self.is_closed = False
        self._stream = stream
        self._write_lock = threading.Lock()
        self._heard = threading.Event()
        self.last_heard = time.monotonic()

    def send(self, event: Event) -> None:
        """Send an event of the keeper."""
        self.write(encode_json(Envelope("", time.time(), event)) + b"\n")

    def write(self, line: bytes) -> None:
        """Write a line; close the connection if that fails."""
        with self._write_lock:
            try:
                self._stream.sendall(line)
            except OSError:
                self.close()

    def messages(self, first_within: float) -> Iterator[ClientMessage]:
        """Yield the messages of the client until it ends.

        It also ends if the first message does not come within so many seconds.
        """
        decoder = json_decoder(ClientMessage)
        self._stream.settimeout(first_within)
        with contextlib.suppress(OSError), self._stream.makefile("rb") as lines:
            while (line := lines.readline(MAX_LINE_BYTES)).endswith(b"\n"):
                self._stream.settimeout(None)
                self.last_heard = time.monotonic()
                self._heard.set()
                yield decoder.decode(line)

    def responds(self, seconds: float) -> bool:
        """Return whether the client is there."""
        self._heard.clear()
        # Another thread: a dead connection may block the write.
        threading.Thread(target=self.send, args=(Ping(),), daemon=True).start()
        return self._heard.wait(seconds)

    def close(self) -> None:
        """Close the connection."""
        self.is_closed = True
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()


class Keeper:
    """Keep one engine, for one client at a time."""

    def __init__(
        self,
        place: Place,
        engine_command: Sequence[str] = ENGINE_COMMAND,
        times: Times = _TIMES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._place, self._times = place, times
        self._lines = Lines(place.lines, max_bytes)
        self._session = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._connection: _Connection | None = None
        self._client = ""  # the latest
        self._accepted = 0  # commands of this client
        self._received = 0  # lines that it has received for sure, or does not get
        self._alone_since = time.monotonic()
        self._pinged = time.monotonic()
        self._open: dict[str, Command] = {}
        self._cancelled: set[str] = set()  # of these
        self._give_up_at: dict[str, float] = {}  # timeouts of cancelled ones
        self._ignores_cancel = False
        self._ready: tuple[int, EngineReady] | None = None  # with its number
        self._run: StartRun | ResumeRun | None = None  # the latest
        self._began = 0.0  # the time of its command
        self._earlier_bytes = 0  # of its log before a resumption
        self._run_start = 0  # number of its first line
        self._run_end: int | None = None  # number of its last line; None: it goes on
        self._seen = 0  # lines that a client has received for sure
        self._has_ended = False
        self._engine: JsonProcess[_Line] = JsonProcess(
            engine_command, _decoded, os.environ
        )

    def serve(self) -> None:
        """Accept clients until there is no more work."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._place.make_room_for_socket()
            listener.bind(str(self._place.socket))
            listener.listen()
            listener.settimeout(_POLL_SECONDS)
            threading.Thread(target=self._follow_engine, daemon=True).start()
            while not self._stopping.is_set():
                if (stream := _accepted(listener)) is not None:
                    self._welcome(_Connection(stream))
                self._tick()
        finally:
            self._place.remove_socket()
            listener.close()
            with self._lock:
                if self._connection is not None:
                    self._connection.close()
            self._engine.kill()
            self._lines.close()

    def stop(self) -> None:
        """Make `serve` return, which ends the engine."""
        self._stopping.set()

    def _welcome(self, connection: _Connection) -> None:
        """Talk with a client in a thread, unless there are too many."""
        if threading.active_count() > _MAX_THREADS:
            connection.close()
            return
        threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _tick(self) -> None:
        """Close a dead connection; stop without work."""
        now = time.monotonic()
        self._lines.flush()
        if self._lines.is_long:
            self._lines.shorten(self._first_needed)
        self._end_overdue(now)
        with self._lock:
            connection = self._connection
            if connection is None:
                is_idle = not self._open or self._has_ended
                if is_idle and now - self._alone_since > self._times.idle:
                    self.stop()
                return
            is_silent = now - connection.last_heard > self._times.pong
            is_due = now - self._pinged > self._times.ping
            self._pinged = now if is_due else self._pinged
        if is_silent:
            self._detach(connection)
        elif is_due:
            threading.Thread(
                target=connection.send, args=(Ping(),), daemon=True
            ).start()

    @property
    def _first_needed(self) -> int:
        """The number of the first line that a client may get."""
        with self._lock:
            if not self._has_news:
                return self._received
            return min(self._received, self._run_start)

    def _end_overdue(self, now: float) -> None:
        """End what has ignored a cancel until the timeout.

        The time is taken here and not by the client: the connection may be slow. The
        engine is killed, unless that would end other work: what is done beside it, such
        as a download, is then given up, and only reported as cancelled.
        """
        with self._lock:
            if self._has_ended or self._ignores_cancel:
                return
            items = self._open.items()
            queued = [x for x, each in items if not isinstance(each, AT_ONCE)]
            begun = self._cancelled.difference(queued[1:])  # the others wait
            self._give_up_at = {
                x: self._give_up_at.get(x, now + self._times.cancel) for x in begun
            }
            overdue = [x for x, at in self._give_up_at.items() if now >= at]
            if not overdue:
                return
            is_blocked = bool(queued) and queued[0] in overdue
            is_idle = self._open.keys() <= self._cancelled
            if is_idle and not is_blocked and len(overdue) < len(begun):
                return  # the others have time left
            self._ignores_cancel = is_blocked or is_idle
            if not self._ignores_cancel:
                for each in overdue:
                    self._give_up(each)
                return
        kill_process_tree(self._engine.pid)

    def _give_up(self, id_: str) -> None:
        """Report a request as cancelled that the engine may still work on."""
        command = self._open.pop(id_)
        self._cancelled.discard(id_)
        name = _NAMES.get(type(command), "A request")
        warning = Logged(
            Level.WARNING,
            f"{name} did not respond to Cancel, and was given up. The rest goes on.",
        )
        for envelope in (
            Envelope("", time.time(), warning),
            Envelope(id_, time.time(), Cancelled()),
        ):
            self._lines.append(encode_json(envelope))

    # the engine

    def _follow_engine(self) -> None:
        while not self._engine.ended:
            if (line := self._engine.receive(_POLL_SECONDS)) is not None:
                self._on_line(line)
        if self._stopping.is_set():
            return
        process_exit = self._engine.wait_for_exit()
        message = f"The engine {process_exit.reason}."
        if self._ignores_cancel:
            message = "The engine did not respond to Cancel, and was ended."
        sys.stderr.write(f"{message}\n{process_exit.details}\n")
        sys.stderr.flush()
        event = EngineEnded(message, process_exit.details)
        with self._lock:
            self._has_ended = True
            self._lines.append(encode_json(Envelope("", time.time(), event)))

    def _on_line(self, line: _Line) -> None:
        envelope = line.envelope
        with self._lock:
            number = self._lines.append(line.text.rstrip(b"\n"))
            if isinstance(envelope.event, EngineReady):
                self._ready = (number, envelope.event)
            command = self._open.get(envelope.run)
            if command is None or not ends(command, envelope.event):
                return
            del self._open[envelope.run]
            self._cancelled.discard(envelope.run)
            if command is self._run:
                self._run_end = number

    # the client

    def _talk(self, connection: _Connection) -> None:
        """Serve one client until it goes away."""
        try:
            messages = connection.messages(self._times.pong)
            attach = next(messages, None)
            if not isinstance(attach, Attach):
                return
            if (first := self._attach(connection, attach)) is None:
                return
            task = (connection, first)
            threading.Thread(target=self._send_lines, args=task, daemon=True).start()
            for message in messages:
                if connection.is_closed:
                    return
                self._on_message(connection, message)
        except msgspec.MsgspecError as error:
            sys.stderr.write(f"A client sent an invalid line: {error}\n")
            sys.stderr.flush()
        finally:
            self._detach(connection)

    def _attach(self, connection: _Connection, attach: Attach) -> int | None:
        """Give a client the engine; return the number of its first line."""
        with self._lock:
            other = self._connection
        is_other = other is not None and other.client != attach.client
        if other is not None and is_other and other.responds(self._times.takeover):
            since = time.strftime("%H:%M", time.localtime(other.since))
            connection.send(
                Refused(
                    "Another window has used the engine of this computer since "
                    f"{since}.",
                    "Close that window, or choose another computer in it.",
                )
            )
            return None
        with self._lock:
            if self._connection not in (None, other):
                return None  # another client was faster
            if other is not None:
                self._detach(other)
            is_known = attach.client == self._client and attach.session == self._session
            if is_known:
                self._acknowledge(attach.received)
                first = min(attach.received, self._lines.count)
            else:
                self._client, self._accepted = attach.client, 0
                first = self._run_start if self._has_news else self._lines.count
                if self._has_ended:
                    first = min(first, self._lines.count - 1)  # the line that says so
                self._received = first
            ready = None
            if self._ready is not None and self._ready[0] < first and not is_known:
                ready = self._ready[1]
            connection.client = attach.client
            self._connection = connection
            self._pinged = time.monotonic()
            run = self._run if self._has_news and not is_known else None
            began, earlier_bytes = self._began, self._earlier_bytes
            accepted = self._accepted
        # Without the lock: a client that reads slowly must not block the others.
        connection.send(
            Attached(
                session=self._session,
                version=_VERSION,
                computer=_sendable(socket.gethostname()),
                home=_sendable(Path.home()),
                runs_folder=_sendable(_runs_folder()),
                next=first,
                is_known=is_known,
                accepted=accepted,
                run=_as_start(run),
                began=began,
                earlier=_earlier(run, earlier_bytes),
                ready=ready,
            )
        )
        return first

    def _acknowledge(self, received: int) -> None:
        """Remember how many lines the client has received for sure."""
        received = min(received, self._lines.count)
        self._received = max(self._received, received)
        self._seen = max(self._seen, received)

    @property
    def _has_news(self) -> bool:
        """Whether there is a run whose end no client has received."""
        if self._run is None:
            return False
        return self._run_end is None or self._run_end >= self._seen

    def _send_lines(self, connection: _Connection, first: int) -> None:
        try:
            with contextlib.closing(self._lines.reader(first)) as reader:
                while not connection.is_closed and not self._stopping.is_set():
                    if (line := reader.next(_POLL_SECONDS)) is not None:
                        connection.write(line)
        except OSError as error:  # such as too many open files: it connects again
            sys.stderr.write(f"The lines cannot be read: {error}\n")
            sys.stderr.flush()
            self._detach(connection)

    def _on_message(self, connection: _Connection, message: ClientMessage) -> None:
        match message:
            case Attach():
                pass
            case Pong(received=received):
                with self._lock:
                    if self._connection is connection:
                        self._acknowledge(received)
            case Leave(received=received, ends_engine=ends_engine):
                with self._lock:
                    if self._connection is connection:
                        self._acknowledge(received)
                        if ends_engine or not self._open or self._has_ended:
                            self.stop()
                self._detach(connection)
            case _:
                self._on_command(connection, message)

    def _on_command(self, connection: _Connection, command: Command) -> None:
        with self._lock:
            if self._connection is not connection:
                return  # the client has connected again, and sends it again
            self._accepted += 1
            if isinstance(command, Cancel):
                self._cancelled |= {command.run} & self._open.keys()
            elif not isinstance(command, StopAndKeep | Pause | Resume):
                self._open[command.run] = command
            if isinstance(command, StartRun | ResumeRun):
                self._run, self._run_end = command, None
                self._began = time.time()
                self._earlier_bytes = _log_bytes(command)
                self._run_start = self._lines.count
        self._engine.send(command)

    def _detach(self, connection: _Connection) -> None:
        connection.close()
        with self._lock:
            if self._connection is connection:
                self._connection = None
                self._alone_since = time.monotonic()


def _accepted(listener: socket.socket) -> socket.socket | None:
    """Return the next connection; None if there is none soon."""
    try:
        return listener.accept()[0]
    except TimeoutError:
        return None
    except OSError:  # such as too many open files: no reason to end a run
        time.sleep(_POLL_SECONDS)
        return None


def _runs_folder() -> Path:
    return platformdirs.user_data_path("surgeon") / "runs"


def _sendable(name: Path | str) -> str:
    """Return a name that JSON can hold: its bytes may be in an older encoding."""
    return os.fsencode(name).decode(errors="replace")


def _log_bytes(command: StartRun | ResumeRun) -> int:
    """Return the bytes of the log of a run."""
    try:
        return RunFolder(Path(command.folder)).events_path.stat().st_size
    except (OSError, ValueError):  # it may be no path
        return 0


def _as_start(run: StartRun | ResumeRun | None) -> StartRun | None:
    """Return a run as the command that would start it."""
    if not isinstance(run, ResumeRun):
        return run
    try:
        config = RunFolder(Path(run.folder)).read_config()
    except EngineError:
        return None
    return StartRun(run=run.run, config=config, folder=run.folder)


def _earlier(run: StartRun | ResumeRun | None, size: int) -> tuple[Envelope, ...]:
    """Return the events of a resumed run in the first bytes of its log.

    Those that would make a line too long are left out.
    """
    if not isinstance(run, ResumeRun):
        return ()
    found, place, room = [], 0, MAX_LINE_BYTES // 2
    with contextlib.suppress(UnreadableFileError):  # damaged: as far as it goes
        for line in read_lines(RunFolder(Path(run.folder)).events_path):
            place += len(line)
            if place > size:
                break
            if not any(name in line for name in _FREQUENT) and len(line) <= room:
                with contextlib.suppress(msgspec.MsgspecError):
                    found.append(_ENVELOPE.decode(line))
                    room -= len(line)
    return tuple(found)


def _decoded(line: bytes) -> _Line:
    return _Line(line, _ENVELOPE.decode(line))


_ENVELOPE = json_decoder(Envelope)


def keep(
    engine_command: Sequence[str] = ENGINE_COMMAND,
    times: Times = _TIMES,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Keep an engine until there is no more work.

    Only one keeper of a user runs on a computer: another one returns at once.
    """
    place = Place()
    with place.lock.open("ab") as lock:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    return
                time.sleep(_LOCK_POLL_SECONDS)
        keeper = Keeper(place, engine_command, times, max_bytes)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: keeper.stop())
        keeper.serve()


if __name__ == "__main__":
    try:
        keep()
    except (DetachedError, OSError) as error:
        sys.exit(str(error))
