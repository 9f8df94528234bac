"""The supervisor of the engine: starts it, follows its requests, replaces it.

Every request ends exactly once, whatever happens to the engine: if it dies, its open
requests fail; if it ignores a cancel until the timeout, it is killed and the request
counts as cancelled. The keeper of a detached engine kills it there, which is awaited
however slow the connection is. No Qt; all methods must be called from one thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from surgeon_engine.api.client import CANCEL_TIMEOUT_S, EngineClient
from surgeon_engine.api.messages.commands import (
    Cancel,
    Command,
    ExportRun,
    Pause,
    Resume,
    ResumeRun,
    StartRun,
    StopAndKeep,
)
from surgeon_engine.api.messages.connection import ends
from surgeon_engine.api.messages.events import (
    Attached,
    Cancelled,
    EngineReady,
    Envelope,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.remote import RemoteEngine
from surgeon_gui.base.translation import tr
from surgeon_gui.text import labels

MAX_FAILED_STARTS = 3  # consecutive engines that end before they are ready

_RUNS = (StartRun, ResumeRun)
_OUTLIVES = (*_RUNS, ExportRun)  # the window, in a detached engine


class EngineSupervisor:
    """Run one engine at a time; `make_client` starts the next."""

    def __init__(
        self,
        make_client: Callable[[], EngineClient],
        cancel_timeout_s: float = CANCEL_TIMEOUT_S,
    ) -> None:
        self._make_client = make_client
        self._cancel_timeout_s = cancel_timeout_s
        self._client: EngineClient | None = None
        self._open: dict[str, Command] = {}  # by id
        self._kill_at: dict[str, float] = {}  # the timeouts of cancelled requests
        self._failed_starts = 0

    @property
    def is_idle(self) -> bool:
        """True if there is no open request."""
        return not self._open

    @property
    def is_done(self) -> bool:
        """True if no request is open that ends with the window."""
        return all(self._outlives(each) for each in self._open.values())

    def start(self) -> list[Envelope]:
        """Start an engine; return the events of a failure."""
        try:
            self._client = self._make_client()
        except (OSError, ImportError) as error:
            self._failed_starts = MAX_FAILED_STARTS
            return self._give_up(labels.ENGINE_CANNOT_START, str(error))
        return []

    def send(self, command: Command) -> list[Envelope]:
        """Send a command; return the failures if no engine runs."""
        if isinstance(command, Cancel):
            if command.run in self._open:
                self._kill_at.setdefault(command.run, self._cancel_timeout())
        elif not isinstance(command, StopAndKeep | Pause | Resume):
            self._open[command.run] = command
        if self._client is None:
            return self._fail_all(labels.ENGINE_MISSING, labels.ENGINE_MISSING_HINT, "")
        self._client.send(command)
        return []

    def receive(self, timeout: float) -> list[Envelope]:
        """Return the events of the next `timeout` seconds, usually at most one."""
        if self._client is None:
            time.sleep(timeout)
            return []
        envelope = self._client.receive(timeout)
        if envelope is not None:
            self._follow(envelope)
            return [envelope]
        if self._client.ended:
            return self._replace_dead_engine()
        return self._restart_unresponsive()

    def restart(self) -> list[Envelope]:
        """Replace the engine, which has no open request, by a new one."""
        self.kill()
        return self.start()

    def switch(self, make_client: Callable[[], EngineClient]) -> list[Envelope]:
        """End the engine and let `start` start another one.

        Runs of a detached engine go on; other requests end.
        """
        events = [_envelope(id_, Cancelled()) for id_ in self._open]
        self.cancel_all()
        self._open.clear()
        self._kill_at.clear()
        self.close()
        self._make_client, self._failed_starts = make_client, 0
        return events

    def reconnect(self) -> None:
        """Try at once to connect with the engine of another computer again."""
        if isinstance(self._client, RemoteEngine):
            self._client.reconnect()

    def cancel_all(self) -> None:
        """Cancel all open requests that end with the window."""
        for id_, command in tuple(self._open.items()):
            if not self._outlives(command):
                self.send(Cancel(run=id_))

    def close(self) -> None:
        """End the connection; only a detached engine goes on."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def kill(self) -> None:
        """Kill the engine with all its processes."""
        if self._client is not None:
            self._client.kill()
            self._client = None

    def _follow(self, envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, EngineReady):
            self._failed_starts = 0
        elif isinstance(event, Attached) and event.run is not None:
            self._open[event.run.run] = event.run  # of another window
        if ends(self._open.get(envelope.run), event):
            self._open.pop(envelope.run, None)
            self._kill_at.pop(envelope.run, None)

    @property
    def _is_detached(self) -> bool:
        return self._client is not None and self._client.is_detached

    def _outlives(self, command: Command) -> bool:
        is_cancelled = command.run in self._kill_at
        return self._is_detached and isinstance(command, _OUTLIVES) and not is_cancelled

    def _cancel_timeout(self) -> float:
        """Return when the engine is killed if it ignores a cancel that is sent now."""
        if self._is_detached:
            return math.inf
        return time.monotonic() + self._cancel_timeout_s

    def _replace_dead_engine(self) -> list[Envelope]:
        assert self._client is not None
        message, last_text = self._client.exit_reason()
        self.kill()
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            return self._give_up(message, last_text)
        failures = self._fail_all(message, labels.ENGINE_CRASHED_HINT, last_text)
        if not any(isinstance(each.event, Failed) for each in failures):
            warning = tr("{message} The engine is being restarted.").format(
                message=message
            )
            failures.append(_envelope("", Logged(Level.WARNING, warning)))
        return [*failures, *self.start()]

    def _restart_unresponsive(self) -> list[Envelope]:
        now = time.monotonic()
        assert self._client is not None
        overdue = [id_ for id_, at in self._kill_at.items() if now >= at]
        if not overdue:
            return []
        self.kill()
        for id_ in overdue:
            del self._open[id_], self._kill_at[id_]
        events = [_envelope(id_, Cancelled()) for id_ in overdue]
        events += self.start()
        for command in tuple(self._open.values()):
            events += self.send(command)
        return events

    def _give_up(self, message: str, last_text: str) -> list[Envelope]:
        hint = labels.ENGINE_DOES_NOT_START_HINT
        failures = self._fail_all(message, hint, last_text)
        return [*failures, _envelope("", Failed(message, hint, last_text))]

    def _fail_all(self, message: str, hint: str, details: str) -> list[Envelope]:
        events = [
            _envelope(
                id_,
                Cancelled()
                if id_ in self._kill_at
                else Failed(_failure_message(command, message), hint, details),
            )
            for id_, command in self._open.items()
        ]
        self._open.clear()
        self._kill_at.clear()
        return events


def _failure_message(command: Command, message: str) -> str:
    if isinstance(command, _RUNS):
        return tr("The run has ended early. {message}").format(message=message)
    return message


def _envelope(id_: str, event: Cancelled | Failed | Logged) -> Envelope:
    return Envelope(id_, time.time(), event)
