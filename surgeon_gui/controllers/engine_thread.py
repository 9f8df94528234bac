"""The background thread that owns the engine: nothing else ever waits on it.

    GUI thread   --send-->  queue of commands  -->  engine
    GUI thread  <--events_received, a list at most ten times a second--  engine

The thread runs one loop and has no slots; what it does to the engine is in
`engine_keeper.py`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QThread, Signal

from surgeon_engine.api.client import EngineClient, EngineProcess
from surgeon_engine.api.messages.commands import Command
from surgeon_engine.api.messages.events import Envelope, Logged
from surgeon_engine.api.messages.run import MemorySampled, Progressed, Stage
from surgeon_gui.controllers.engine_supervisor import CANCEL_TIMEOUT_S, EngineSupervisor

BATCH_SECONDS = 0.1  # the window is told of events at most this often
POLL_SECONDS = 0.03  # the longest a command waits before the engine hears it
STACK_BYTES = 16 * 2**20  # macOS gives threads 512 kB, too little for BLAS
SHUTDOWN_GRACE_S = 2.0  # for runs under way to end by themselves when the window closes


class EngineThread(QThread):
    """Starts an engine as it starts itself, and leaves none behind when it ends."""

    events_received = Signal(object)  # list[Envelope], in order

    def __init__(
        self,
        make_client: Callable[[], EngineClient] = EngineProcess,
        cancel_timeout_s: float = CANCEL_TIMEOUT_S,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("engine_thread")
        self.setStackSize(STACK_BYTES)
        self._supervisor = EngineSupervisor(make_client, cancel_timeout_s)
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._has_listener = threading.Event()
        self._untold: list[Envelope] = []

    def listen(self, slot: Callable[[list[Envelope]], None]) -> None:
        """Tell `slot` of all events, also of those from before it listened.

        The engine is started before the window is made, and may be ready first: what
        is emitted while nothing is connected would be lost.
        """
        self.events_received.connect(slot)
        self._has_listener.set()

    def send(self, command: Command) -> None:
        """Tell the engine something; returns at once, from any thread."""
        self._commands.put(command)

    def shut_down(self) -> None:
        """End the engine and this thread; returns once both are gone."""
        self._ending.set()
        self.wait()

    def run(self) -> None:
        """The loop of the thread; called by Qt."""
        try:
            self._report(self._supervisor.start())
            while not self._ending.is_set():
                self._report(self._batch())
            self._request_shutdown()
        finally:
            self._supervisor.kill()

    def _batch(self) -> list[Envelope]:
        """What happens until the window may be told again."""
        batch: list[Envelope] = []
        until = time.monotonic() + BATCH_SECONDS
        while time.monotonic() < until and not self._ending.is_set():
            batch += self._pass_commands_on()
            batch += self._supervisor.receive(POLL_SECONDS)
        return batch

    def _pass_commands_on(self) -> list[Envelope]:
        told: list[Envelope] = []
        while not self._commands.empty():
            told += self._supervisor.send(self._commands.get())
        return told

    def _request_shutdown(self) -> None:
        self._pass_commands_on()
        self._supervisor.cancel_all()
        until = time.monotonic() + SHUTDOWN_GRACE_S
        while not self._supervisor.idle and time.monotonic() < until:
            self._supervisor.receive(POLL_SECONDS)

    def _report(self, batch: list[Envelope]) -> None:
        self._untold += batch
        if self._untold and self._has_listener.is_set():
            batch, self._untold = self._untold, []
            self.events_received.emit(coalesce_progress(batch))


def coalesce_progress(batch: list[Envelope]) -> list[Envelope]:
    """The batch without progress that is followed by further progress of its stage.

    It would be overwritten before anyone sees it, and an engine that reports 40,000
    steps a second would keep the window busy doing so. What comes between two reports
    of progress and changes nothing about them stays.
    """
    kept: list[Envelope] = []
    later: tuple[str, Stage, int] | None = None  # of which progress is still to come
    for envelope in reversed(batch):
        event = envelope.event
        if isinstance(event, Progressed):
            place = (envelope.run, event.stage, event.shot)
            if place == later:
                continue
            later = place
        elif not isinstance(event, MemorySampled | Logged):
            later = None
        kept.append(envelope)
    return kept[::-1]
