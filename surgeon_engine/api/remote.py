"""A client of the engine of another computer, by OpenSSH.

`ssh HOST surgeon serve` is an engine as any other, and ends with its connection. Runs
are detached: they go on, and the client watches them again when it has connected again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import msgspec

from surgeon_engine.api.messages.commands import (
    Command,
    Control,
    ExportRun,
    Generate,
    Pause,
    Resume,
)
from surgeon_engine.api.messages.events import (
    ConnectionChanged,
    ConnectionStatus,
    EngineReady,
    EngineStarted,
    Envelope,
    Failed,
)
from surgeon_engine.api.messages.requests import after, is_watched
from surgeon_engine.api.messages.run import Paused, Resumed
from surgeon_engine.base.decoding import clean_json, json_decoder
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.json_process import JsonProcess
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.base.ssh import (
    SSH_OPTIONS,
    Computer,
    ConnectionFailed,
    FinalFailure,
    is_of_ssh,
    not_an_engine,
    problem_of,
    version_problem,
)

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 60.0)
_EXIT_SECONDS = 2.0  # for the status, which follows the end of the output
_MAX_NOISE_BYTES = 100_000  # output of the start-up files of a shell
# Requests that a lost connection ends once they have begun; the others begin again.
_ONCE = (ExportRun, Generate)


class RemoteEngine:
    """A client of the engine of another computer.

    Events of the connection itself, `ConnectionChanged`, are among the received ones.
    Commands that are sent without a connection are sent when there is one again. All
    methods must be called from one thread, except `reconnect`.

    `ssh` is the program with its options, `retry_seconds` the times to wait before each
    further attempt; None: `RETRY_SECONDS`.
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
        self._events: deque[Envelope] = deque()
        self._process: JsonProcess[Envelope | _Noise] | None = None
        self._is_connected = self._has_connected = False
        self._open: dict[str, Command] = {}  # with which it goes on, by name
        self._controls: dict[str, Control] = {}  # the latest of each
        self._begun: set[str] = set()  # names of requests that were sent
        self._noise_bytes = 0
        self._attempt = 0  # failed ones in a row
        self._retry_at: float | None = 0.0  # None: when the user asks for it
        self._asked_again = False
        self._is_closed = False

    def send(self, command: Command) -> None:
        """Send a command, now or when there is a connection again."""
        if not isinstance(command, Control):
            self._open[command.run] = command
        elif command.run in self._open:
            self._controls[command.run] = command
        if self._is_connected:
            self._send_now(command)

    def receive(self, timeout: float) -> Envelope | None:
        """Return the next event, or None if none arrives within `timeout` seconds."""
        if self._events:
            return self._events.popleft()
        if self._is_closed:
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
        """Whether the connection was closed and all its events have been received."""
        return self._is_closed and not self._events

    def exit_reason(self) -> tuple[str, str]:
        """Return that the connection was closed, and no error output."""
        return say("The connection was closed."), ""

    def reconnect(self) -> None:
        """Try to connect again at once; callable from any thread."""
        self._asked_again = True

    def kill(self) -> None:
        """End the connection, and the engine with it; detached runs go on."""
        self._drop()
        self._is_closed = True
        self._events.clear()

    def _connect(self) -> None:
        command = f"{self._computer.command} serve"
        try:
            self._computer.check()
            self._process = JsonProcess(
                (*self._ssh, "--", self._computer.ssh_name, command), self._decode
            )
        except EngineError as error:
            self._fail(error)
        except OSError as error:
            self._fail(
                ConnectionFailed(
                    "OpenSSH cannot be started: {reason:clause}.",
                    "Install it, so that ssh works in a terminal.",
                    reason=error.strerror,
                )
            )
        else:
            self._noise_bytes = 0
            self._report(ConnectionStatus.CONNECTING)

    def _send_now(self, command: Command) -> None:
        assert self._process is not None
        self._process.send(command)
        self._begun.add(command.run)

    def _receive(self, timeout: float) -> None:
        assert self._process is not None
        message = self._process.receive(timeout)
        if isinstance(message, Envelope):
            self._on_envelope(message)
        elif message is None and self._process.ended:
            self._on_connection_ended()

    def _on_envelope(self, envelope: Envelope) -> None:
        event = envelope.event
        is_first = isinstance(event, EngineStarted)
        if is_first is self._is_connected or isinstance(event, ConnectionChanged):
            self._fail(not_an_engine(self._computer, type(event).__name__))
            return
        if isinstance(event, EngineStarted):
            if problem := version_problem(event.version, self._computer.host):
                self._fail(problem)
                return
            self._is_connected = self._has_connected = True
            self._report(ConnectionStatus.CONNECTED)
            self._go_on()
        elif isinstance(event, EngineReady):
            self._attempt = 0
        self._follow(envelope)
        self._events.append(envelope)

    def _follow(self, envelope: Envelope) -> None:
        """Remember how to go on after an event."""
        name = envelope.run
        if (command := self._open.get(name)) is None:
            return
        if (following := after(command, envelope)) is None:
            self._forget(name)
            return
        self._open[name] = following
        is_obeyed = isinstance(envelope.event, Paused | Resumed)
        if is_obeyed and isinstance(self._controls.get(name), Pause | Resume):
            del self._controls[name]

    def _forget(self, name: str) -> None:
        self._open.pop(name, None)
        self._controls.pop(name, None)
        self._begun.discard(name)

    def _go_on(self) -> None:
        """Send what is open, in a new connection."""
        for name, command in tuple(self._open.items()):
            if isinstance(command, _ONCE) and name in self._begun:
                reason = say("The connection was lost meanwhile.")
                self._end(name, Failed(reason, say("Try it again.")))
                continue
            self._send_now(command)
            if (control := self._controls.get(name)) is not None:
                self._send_now(control)

    def _end(self, name: str, failed: Failed) -> None:
        self._forget(name)
        self._events.append(Envelope(name, time.time(), failed))

    def _on_connection_ended(self) -> None:
        assert self._process is not None
        process_exit = self._process.wait_for_exit(_EXIT_SECONDS)
        problem = problem_of(process_exit, self._computer)
        if self._is_connected and not is_of_ssh(process_exit):  # it would crash again
            for name, command in tuple(self._open.items()):
                if name in self._begun and not is_watched(command):
                    message = say_all(problem.message, problem.hint)
                    self._end(name, Failed(message, "", process_exit.details))
        self._drop()
        is_last = self._attempt >= len(self._retry_seconds)
        if isinstance(problem, FinalFailure) or not self._has_connected or is_last:
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
        self._is_connected = False
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _report(
        self,
        status: ConnectionStatus,
        problem: EngineError | None = None,
        attempt: int = 0,
        attempts: int = 0,
    ) -> None:
        message, hint = (problem.message, problem.hint) if problem else ("", "")
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
        if not self._is_connected and not line.startswith(b"{"):
            self._noise_bytes += len(line)
            if self._noise_bytes > _MAX_NOISE_BYTES:
                raise msgspec.ValidationError("not an engine")
            return _Noise()
        return _ENVELOPE(clean_json(line))


class _Noise:
    """A line that is none of the engine's."""


_ENVELOPE = json_decoder(Envelope)
