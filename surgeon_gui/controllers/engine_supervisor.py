"""Keeps one engine alive: starts it, follows its requests, replaces it when it is gone.

Every request that is sent gets exactly one ending, whatever happens to the engine: if
it dies, what was under way has failed; if it does not obey a cancel in time, it is
killed and what was cancelled is cancelled. Knows nothing of Qt; all methods belong to
one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from surgeon_engine.api.client import EngineClient
from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.commands import (
    Cancel,
    Command,
    ExportRun,
    Pause,
    Resume,
    StartRun,
    StopAndKeep,
)
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.events import (
    Cancelled,
    EngineReady,
    Envelope,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.generation import Generated
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.run import Exported, RunFinished
from surgeon_engine.api.messages.sources import (
    ModelDownloaded,
    ModelInspected,
    TextDescribed,
    TextPreviewed,
)
from surgeon_gui.base.translation import tr
from surgeon_gui.text import labels

CANCEL_TIMEOUT_S = 5.0  # seconds until an engine that ignores a cancel is killed
MAX_FAILED_STARTS = 3  # engines in a row that end before they are ready

_ENDINGS = (
    ModelInspected,
    ModelDownloaded,
    TextDescribed,
    TextPreviewed,
    Measured,
    Diagnosed,
    Generated,
    MachineProbed,
    RunFinished,
    Failed,
    Cancelled,
)


class EngineSupervisor:
    """One engine after the other, made by `make_client`."""

    def __init__(
        self,
        make_client: Callable[[], EngineClient],
        cancel_timeout_s: float = CANCEL_TIMEOUT_S,
    ) -> None:
        self._make_client = make_client
        self._cancel_timeout_s = cancel_timeout_s
        self._client: EngineClient | None = None
        self._open: dict[str, Command] = {}  # requests without an ending, by run
        self._kill_at: dict[str, float] = {}  # cancelled ones: when patience ends
        self._false_starts = 0

    @property
    def idle(self) -> bool:
        """Whether no request is without an ending."""
        return not self._open

    def start(self) -> list[Envelope]:
        """Start an engine; what there is to tell if that does not work."""
        try:
            self._client = self._make_client()
        except (OSError, ImportError) as error:
            self._false_starts = MAX_FAILED_STARTS
            return self._give_up(labels.ENGINE_CANNOT_START, str(error))
        return []

    def send(self, command: Command) -> list[Envelope]:
        """Pass a command on; what there is to tell if there is no engine left."""
        if isinstance(command, Cancel):
            if command.run in self._open:
                limit = time.monotonic() + self._cancel_timeout_s
                self._kill_at.setdefault(command.run, limit)
        elif not isinstance(command, StopAndKeep | Pause | Resume):
            self._open[command.run] = command
        if self._client is None:
            return self._fail_all(labels.ENGINE_MISSING, labels.ENGINE_MISSING_HINT, "")
        self._client.send(command)
        return []

    def receive(self, timeout: float) -> list[Envelope]:
        """What has happened within `timeout` seconds, seldom more than one event."""
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

    def cancel_all(self) -> None:
        """Ask for the end of everything under way."""
        for run in tuple(self._open):
            self.send(Cancel(run=run))

    def kill(self) -> None:
        """End the engine; nothing of it is left afterwards."""
        if self._client is not None:
            self._client.kill()
            self._client = None

    def _follow(self, envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, EngineReady):
            self._false_starts = 0
        # A run goes on after its export, and may have two of them.
        is_saved = isinstance(event, Exported) and isinstance(
            self._open.get(envelope.run), ExportRun
        )
        if isinstance(event, _ENDINGS) or is_saved:
            self._open.pop(envelope.run, None)
            self._kill_at.pop(envelope.run, None)

    def _replace_dead_engine(self) -> list[Envelope]:
        assert self._client is not None
        message, last_text = self._client.exit_reason()
        self.kill()
        self._false_starts += 1
        if self._false_starts >= MAX_FAILED_STARTS:
            return self._give_up(message, last_text)
        told = self._fail_all(message, labels.ENGINE_CRASHED_HINT, last_text)
        if not told:
            told = [
                _now(
                    "",
                    Logged(
                        Level.WARNING,
                        tr("{message} It starts again.").format(message=message),
                    ),
                )
            ]
        return [*told, *self.start()]

    def _restart_unresponsive(self) -> list[Envelope]:
        overdue = [run for run, at in self._kill_at.items() if time.monotonic() >= at]
        if not overdue:
            return []
        self.kill()
        for run in overdue:
            del self._open[run], self._kill_at[run]
        told = [_now(run, Cancelled()) for run in overdue]
        told += self.start()
        for command in tuple(self._open.values()):
            told += self.send(command)  # it has done nothing wrong
        return told

    def _give_up(self, message: str, last_text: str) -> list[Envelope]:
        told = self._fail_all(message, labels.ENGINE_DOES_NOT_START_HINT, last_text)
        return [
            *told,
            _now("", Failed(message, labels.ENGINE_DOES_NOT_START_HINT, last_text)),
        ]

    def _fail_all(self, message: str, hint: str, details: str) -> list[Envelope]:
        told = [
            _now(
                run,
                Cancelled()
                if run in self._kill_at
                else Failed(_at_work(command, message), hint, details),
            )
            for run, command in self._open.items()
        ]
        self._open.clear()
        self._kill_at.clear()
        return told


def _at_work(command: Command, message: str) -> str:
    if isinstance(command, StartRun):
        return tr("The run has ended early. {message}").format(message=message)
    return message


def _now(run: str, event: Cancelled | Failed | Logged) -> Envelope:
    return Envelope(run, time.time(), event)
