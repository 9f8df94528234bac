"""The supervisor of the engine: starts it, follows its requests, replaces it.

Every request ends exactly once, whatever happens to the engine: if it dies, its open
requests fail; if it ignores a cancel until the timeout, it is killed and the request
counts as cancelled. A watched run outlives engines: the next one goes on watching it,
and ends it if it ignores a cancel. No Qt; all methods must be called from one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from surgeon_engine.api.client import CANCEL_TIMEOUT_S, EngineClient
from surgeon_engine.api.litter import log_cancel
from surgeon_engine.api.messages.commands import (
    Cancel,
    Command,
    Control,
    ResumeRun,
    StartRun,
)
from surgeon_engine.api.messages.events import (
    Cancelled,
    EngineReady,
    Envelope,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.requests import after, is_watched
from surgeon_engine.api.remote import RemoteEngine
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.base.translation import tr
from surgeon_gui.text import labels

MAX_FAILED_STARTS = 3  # consecutive engines that end before they are ready

_RUNS = (StartRun, ResumeRun)


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
        self._open: dict[str, Command] = {}  # with which an engine goes on, by id
        self._cancelled: set[str] = set()
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
                self._cancelled.add(command.run)
                if not is_watched(self._open[command.run]):
                    timeout = time.monotonic() + self._cancel_timeout_s
                    self._kill_at.setdefault(command.run, timeout)
        elif not isinstance(command, Control):
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

        Watched runs go on; other requests end.
        """
        self.cancel_all()
        self.kill()
        self._make_client, self._failed_starts = make_client, 0
        return [self._cancelled_by_kill(id_) for id_ in tuple(self._open)]

    def reconnect(self) -> list[Envelope]:
        """Try at once to connect with the engine of another computer again."""
        if isinstance(self._client, RemoteEngine):
            self._client.reconnect()
        return []

    def cancel_all(self) -> None:
        """Cancel all open requests that end with the window."""
        for id_, command in tuple(self._open.items()):
            if not self._outlives(command):
                self.send(Cancel(run=id_))

    def shut_down(self, grace: float, poll: float) -> None:
        """Cancel all requests that end with the window, and kill the engine.

        What the user had canceled before counts as canceled, not as interrupted.

        Args:
            grace: seconds that the requests have to end.
            poll: seconds between two looks whether they have.
        """
        by_user = tuple(self._cancelled)
        self.cancel_all()
        until = time.monotonic() + grace
        while not self.is_done and time.monotonic() < until:
            self.receive(poll)
        self.kill()
        for id_ in by_user:
            if id_ in self._open:
                self._cancelled_by_kill(id_)

    def kill(self) -> None:
        """Kill the engine with all its processes, but for watched runs."""
        if self._client is not None:
            self._client.kill()
            self._client = None

    def _follow(self, envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, EngineReady):
            self._failed_starts = 0
        if (command := self._open.get(envelope.run)) is None:
            return
        if (following := after(command, envelope)) is not None:
            self._open[envelope.run] = following
        else:
            self._forget(envelope.run)

    def _outlives(self, command: Command) -> bool:
        return is_watched(command) and command.run not in self._cancelled

    def _forget(self, id_: str) -> None:
        self._open.pop(id_, None)
        self._kill_at.pop(id_, None)
        self._cancelled.discard(id_)

    def _replace_dead_engine(self) -> list[Envelope]:
        assert self._client is not None
        message, last_text = self._client.exit_reason()
        self.kill()
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            return self._give_up(message, last_text)
        hint = labels.ENGINE_CRASHED_HINT
        failures = self._fail_all(message, hint, last_text, but_watched=True)
        if not any(isinstance(each.event, Failed) for each in failures):
            warning = tr("{message} The engine is being restarted.").format(
                message=message
            )
            failures.append(_envelope("", Logged(Level.WARNING, warning)))
        return [*failures, *self.start(), *self._send_again()]

    def _restart_unresponsive(self) -> list[Envelope]:
        now = time.monotonic()
        assert self._client is not None
        overdue = [id_ for id_, at in self._kill_at.items() if now >= at]
        if not overdue:
            return []
        self.kill()
        events = [self._cancelled_by_kill(id_) for id_ in overdue]
        return [*events, *self.start(), *self._send_again()]

    def _send_again(self) -> list[Envelope]:
        events: list[Envelope] = []
        for id_, command in tuple(self._open.items()):
            events += self.send(command)
            if id_ in self._cancelled:
                events += self.send(Cancel(run=id_))
        return events

    def _give_up(self, message: str, last_text: str) -> list[Envelope]:
        hint = labels.ENGINE_DOES_NOT_START_HINT
        failures = self._fail_all(message, hint, last_text)
        return [*failures, _envelope("", Failed(message, hint, last_text))]

    def _fail_all(
        self, message: str, hint: str, details: str, *, but_watched: bool = False
    ) -> list[Envelope]:
        events = []
        for id_, command in tuple(self._open.items()):
            if but_watched and is_watched(command):
                continue
            if id_ in self._cancelled:
                events.append(self._cancelled_by_kill(id_))
                continue
            text = message
            if isinstance(command, _RUNS):
                text = tr("The run has ended early. {message}").format(message=message)
            events.append(_envelope(id_, Failed(text, hint, details)))
            self._forget(id_)
        return events

    def _cancelled_by_kill(self, id_: str) -> Envelope:
        """End a cancelled request of a killed engine, also in the log of its run."""
        command = self._open[id_]
        if isinstance(command, _RUNS) and not command.detached:
            log_cancel(RunFolder(Path(command.folder)))
        self._forget(id_)
        return _envelope(id_, Cancelled())


def _envelope(id_: str, event: Cancelled | Failed | Logged) -> Envelope:
    return Envelope(id_, time.time(), event)
