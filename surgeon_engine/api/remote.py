"""A client of a detached engine on another computer, by OpenSSH.

`ssh HOST surgeon serve --detached` connects with the keeper of the engine there
(`surgeon_engine.detached`). If the connection breaks, the engine goes on, and the
client connects again.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import deque
from collections.abc import Sequence

import msgspec

from surgeon_engine.api.messages.commands import Command
from surgeon_engine.api.messages.connection import Attach, Leave, Pong
from surgeon_engine.api.messages.events import (
    Attached,
    ConnectionChanged,
    ConnectionStatus,
    EngineEnded,
    EngineReady,
    Envelope,
    Ping,
    Refused,
    Skipped,
)
from surgeon_engine.base.decoding import clean_json, json_decoder
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.json_process import JsonProcess
from surgeon_engine.base.ssh import (
    SSH_OPTIONS,
    Computer,
    ConnectionFailed,
    FinalFailure,
    not_an_engine,
    problem_of,
    version_problem,
)

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 60.0)
_LEAVE_SECONDS = 3.0
_EXIT_SECONDS = 2.0  # for the status, which follows the end of the output
_POLL_SECONDS = 0.05
_MAX_NOISE_BYTES = 100_000  # what the start-up files of a shell may print


class RemoteEngine:
    """A client of the detached engine of another computer.

    Events of the connection itself, `ConnectionChanged`, are among the received ones.
    Commands that are sent without a connection are sent when there is one again. All
    methods must be called from one thread, except `reconnect`.

    Args:
        computer: The computer.
        ssh: The program and its options.
        retry_seconds: The times to wait before each further attempt; None:
            `RETRY_SECONDS`.
    """

    def __init__(
        self,
        computer: Computer,
        ssh: Sequence[str] = ("ssh", *SSH_OPTIONS),
        retry_seconds: Sequence[float] | None = None,
    ) -> None:
        self._computer = computer
        self._ssh = tuple(ssh)
        waits = RETRY_SECONDS if retry_seconds is None else retry_seconds
        self._retry_seconds = tuple(waits)
        self._client = uuid.uuid4().hex
        self._events: deque[Envelope] = deque()
        self._process: JsonProcess[Envelope | _Noise] | None = None
        self._attached: Attached | None = None  # of the current connection
        self._session = ""  # of the keeper; empty: never attached
        self._received = 0  # lines of the session
        self._commands: list[Command] = []  # that the keeper may not have yet
        self._accepted = 0  # commands before these
        self._noise_bytes = 0
        self._attempt = 0  # failed ones in a row
        self._retry_at: float | None = 0.0  # None: when the user asks for it
        self._asked_again = False
        self._is_closed = False
        self._end: tuple[str, str] | None = None  # why the engine has ended

    @property
    def is_detached(self) -> bool:
        """Whether the engine goes on when the client goes away."""
        return True

    def send(self, command: Command) -> None:
        """Send a command, now or when there is a connection again."""
        self._commands.append(command)
        if self._attached is not None and self._process is not None:
            self._process.send(command)

    def receive(self, timeout: float) -> Envelope | None:
        """Return the next event, or None if none arrives within `timeout` seconds."""
        if self._events:
            return self._events.popleft()
        if self._is_closed or self._end is not None:
            return None
        if self._asked_again:
            self._asked_again = False
            if self._process is None:
                self._attempt, self._retry_at = 0, 0.0
        if self._process is None:
            if self._retry_at is None or time.monotonic() < self._retry_at:
                time.sleep(timeout)
                return None
            self._connect()
        else:
            self._receive(timeout)
        return self._events.popleft() if self._events else None

    @property
    def ended(self) -> bool:
        """Whether the engine has ended and all its events have been received."""
        is_over = self._is_closed or self._end is not None
        return is_over and not self._events

    def exit_reason(self) -> tuple[str, str]:
        """Return why the engine has ended, as a sentence, and its last error output."""
        return self._end or ("The connection was closed.", "")

    def reconnect(self) -> None:
        """Try to connect again at once; callable from any thread."""
        self._asked_again = True

    def kill(self) -> None:
        """End the engine in the middle of its work, and the connection."""
        self._leave(ends_engine=True)

    def close(self) -> None:
        """End the connection; an engine that works goes on."""
        self._leave(ends_engine=False)

    def _connect(self) -> None:
        command = f"{self._computer.command} serve --detached"
        try:
            self._computer.check()
            self._process = JsonProcess(
                (*self._ssh, "--", self._computer.ssh_name, command),
                self._decode,
                os.environ,
            )
        except EngineError as error:
            self._fail(error)
            return
        except OSError as error:
            self._fail(
                ConnectionFailed(
                    f"OpenSSH cannot be started: {error.strerror}.",
                    "Install it, so that ssh works in a terminal.",
                )
            )
            return
        self._noise_bytes = 0
        self._report(ConnectionStatus.CONNECTING)
        self._process.send(Attach(self._client, self._session, self._received))

    def _receive(self, timeout: float) -> None:
        assert self._process is not None
        message = self._process.receive(timeout)
        if isinstance(message, _Noise):
            return
        if message is not None:
            self._on_envelope(message)
        elif self._process.ended:
            self._on_connection_ended()

    def _on_envelope(self, envelope: Envelope) -> None:
        assert self._process is not None
        event = envelope.event
        match event:
            case Ping():
                self._process.send(Pong(self._acknowledged))
            case Skipped(lines=lines):
                self._received += lines
            case Refused(message=message, hint=hint):
                self._fail(ConnectionFailed(message, hint))
            case Attached():
                self._on_attached(event, envelope)
            case _ if self._attached is None or isinstance(event, ConnectionChanged):
                self._fail(not_an_engine(self._computer, type(event).__name__))
            case _:
                self._received += 1
                if isinstance(event, EngineEnded):
                    self._end = (event.message, event.details)
                else:
                    self._events.append(envelope)

    def _on_attached(self, attached: Attached, envelope: Envelope) -> None:
        assert self._process is not None
        if problem := version_problem(attached.version, self._computer.host):
            self._send_leave(ends_engine=False)
            self._fail(problem)
            return
        is_same = self._session == attached.session
        if self._session and not attached.is_known:
            host = self._computer.host
            reason = f"Another window has used the engine on {host} meanwhile."
            if not is_same:
                reason = (
                    f"The engine on {host} has ended meanwhile: it was killed, or the "
                    "computer was restarted."
                )
            self._end = (reason, "")  # the next client follows its run
            return
        self._session, self._received = attached.session, attached.next
        self._attached, self._attempt = attached, 0
        del self._commands[: attached.accepted - self._accepted]
        self._accepted = attached.accepted
        for command in self._commands:
            self._process.send(command)
        self._report(ConnectionStatus.CONNECTED)
        if not is_same:
            self._events.append(envelope)
            if attached.ready is not None:
                ready: EngineReady = attached.ready
                self._events.append(Envelope("", envelope.at, ready))

    def _on_connection_ended(self) -> None:
        assert self._process is not None
        process_exit = self._process.wait_for_exit(_EXIT_SECONDS)
        problem = problem_of(process_exit, self._computer)
        was_attached = bool(self._session)
        if process_exit.code == 0 and not was_attached:
            was_attached = True  # the last keeper was about to end
        self._drop()
        is_last = self._attempt >= len(self._retry_seconds)
        if isinstance(problem, FinalFailure) or not was_attached or is_last:
            self._fail(problem)
        else:
            self._retry_at = time.monotonic() + self._retry_seconds[self._attempt]
            self._attempt += 1
            self._report(
                ConnectionStatus.LOST, problem, self._attempt, len(self._retry_seconds)
            )

    def _fail(self, problem: EngineError) -> None:
        self._drop()
        self._retry_at = None
        self._report(ConnectionStatus.FAILED, problem)

    def _drop(self) -> None:
        self._attached = None
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _leave(self, *, ends_engine: bool) -> None:
        if self._attached is not None:
            self._send_leave(ends_engine=ends_engine)
        self._drop()
        self._is_closed = True
        self._events.clear()

    @property
    def _acknowledged(self) -> int:
        """The received lines of the session; before `Attached` it may be another."""
        return self._received if self._attached is not None else 0

    def _send_leave(self, *, ends_engine: bool) -> None:
        """Let the keeper close the connection, so that it knows why."""
        assert self._process is not None
        self._process.send(Leave(self._acknowledged, ends_engine))
        until = time.monotonic() + _LEAVE_SECONDS
        while not self._process.ended and time.monotonic() < until:
            self._process.receive(_POLL_SECONDS)

    def _report(
        self,
        status: ConnectionStatus,
        problem: EngineError | None = None,
        attempt: int = 0,
        attempts: int = 0,
    ) -> None:
        message = problem.message if problem is not None else ""
        hint = problem.hint if problem is not None else ""
        host = self._computer.host
        event = ConnectionChanged(status, host, message, hint, attempt, attempts)
        self._events.append(Envelope("", time.time(), event))

    def _decode(self, line: bytes) -> Envelope | _Noise:
        """Return a line as an event; before the first one, a shell may have printed.

        A line without an end was cut off with the connection: it comes again. All texts
        of the other computer are cleaned here.
        """
        if not line.endswith(b"\n"):
            return _Noise()
        if self._attached is None and not line.startswith(b"{"):
            self._noise_bytes += len(line)
            if self._noise_bytes > _MAX_NOISE_BYTES:
                raise msgspec.ValidationError("not an engine")
            return _Noise()
        return _ENVELOPE.decode(clean_json(line))


class _Noise:
    """A line that is none of the engine's."""


_ENVELOPE = json_decoder(Envelope)
