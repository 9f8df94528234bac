"""The background thread that owns the engine, so that the GUI thread never waits.

    GUI thread   --send-->  queue of commands  -->  engine
    GUI thread  <--events_received, a list at most ten times a second--  engine

The next list is sent after the window has shown the one before, and nothing is received
while it is full. So a slow window gets fewer and longer lists and stays responsive in
between, and an engine that floods it with events has to wait.

The thread runs one loop and has no slots; `EngineSupervisor` controls the engine.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from PySide6.QtCore import QObject, QThread, Signal, Slot

from surgeon_engine.api.client import CANCEL_TIMEOUT_S, EngineClient, EngineProcess
from surgeon_engine.api.messages.commands import Command
from surgeon_engine.api.messages.events import Envelope, Level, Logged
from surgeon_engine.api.messages.run import MemorySampled, Progressed, Stage
from surgeon_gui.controllers.engine_supervisor import EngineSupervisor

BATCH_SECONDS = 0.1  # the minimum time between two batches of events
MAX_EVENTS = 500  # about, of a list
POLL_SECONDS = 0.03  # the maximum delay of a command
STACK_BYTES = 16 * 2**20  # macOS gives threads 512 kB, too little for BLAS
SHUTDOWN_GRACE_S = 2.0  # for open requests to end when the window closes


class _Switch(NamedTuple):
    """A request to use another engine."""

    make_client: Callable[[], EngineClient]
    marker: str


class EngineThread(QThread):
    """Run an engine for as long as the thread runs."""

    events_received = Signal(object)  # list[Envelope], in order

    def __init__(
        self,
        make_client: Callable[[], EngineClient] = EngineProcess,
        cancel_timeout_s: float = CANCEL_TIMEOUT_S,
        parent: QObject | None = None,
        *,
        first: Callable[[], EngineClient] | None = None,
    ) -> None:
        """Create the thread; it uses the engine of `make_client` after `first`."""
        super().__init__(parent)
        self.setObjectName("engine_thread")
        self.setStackSize(STACK_BYTES)
        self._make_client = make_client  # of this computer
        self._supervisor = EngineSupervisor(first or make_client, cancel_timeout_s)
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._restarting = threading.Event()
        self._reconnecting = threading.Event()
        self._next: queue.SimpleQueue[_Switch] = queue.SimpleQueue()
        self._can_take = threading.Event()  # the listener can take events
        self._pending: list[Envelope] = []

    @property
    def is_idle(self) -> bool:
        """True if the engine has no open request."""
        return self._supervisor.is_idle

    def listen(self, slot: Callable[[list[Envelope]], None]) -> None:
        """Call `slot` with all events, including those before this call.

        The engine is started before the window is created and may be ready first.
        Signals that are emitted while nothing is connected would be lost.
        """
        self.events_received.connect(slot)
        self.events_received.connect(self._on_taken)  # after the slot
        self._can_take.set()

    def send(self, command: Command) -> None:
        """Queue a command for the engine; returns at once, callable from any thread."""
        self._commands.put(command)

    def restart_when_idle(self) -> None:
        """Start a new engine once no request is open; returns at once.

        The new one has the environment variables that this process has then.
        """
        self._restarting.set()

    def switch(
        self, make_client: Callable[[], EngineClient] | None, marker: str
    ) -> None:
        """Use another engine, None: that of this computer; returns at once.

        The events of the engine before end with an empty log line that has the name
        `marker`.

        Watched runs go on. Other open requests are cancelled.
        """
        self._next.put(_Switch(make_client or self._make_client, marker))

    def reconnect(self) -> None:
        """Try at once to connect with another computer again; returns at once."""
        self._reconnecting.set()

    def shut_down(self) -> None:
        """End the engine and this thread, and wait for both.

        Watched runs go on.
        """
        self._ending.set()
        self.wait()

    def run(self) -> None:
        """Run the loop of the thread; called by Qt."""
        try:
            self._pending += self._supervisor.start()
            self._report()
            while not self._ending.is_set():
                self._collect()
                self._report()
            self._request_shutdown()
        finally:
            self._supervisor.kill()

    def _collect(self) -> None:
        """Collect the events of the next `BATCH_SECONDS`."""
        until = time.monotonic() + BATCH_SECONDS
        while time.monotonic() < until and not self._ending.is_set():
            while not self._next.empty():
                self._pending += self._send_commands()  # they are for the engine before
                chosen = self._next.get()
                self._pending += self._supervisor.switch(chosen.make_client)
                line = Logged(Level.INFO, "")
                self._pending.append(Envelope(chosen.marker, time.time(), line))
                self._pending += self._supervisor.start()
            if self._reconnecting.is_set():
                self._reconnecting.clear()
                self._supervisor.reconnect()
            if self._restarting.is_set() and self.is_idle:
                self._restarting.clear()
                self._pending += self._supervisor.restart()
            self._pending += self._send_commands()
            self._receive()

    def _receive(self) -> None:
        """Receive events, unless the window still has enough to show."""
        if len(self._pending) >= MAX_EVENTS:
            self._pending = coalesce_progress(self._pending)
        if len(self._pending) >= MAX_EVENTS:
            time.sleep(POLL_SECONDS)
        else:
            self._pending += self._supervisor.receive(POLL_SECONDS)

    def _send_commands(self) -> list[Envelope]:
        events: list[Envelope] = []
        while not self._commands.empty():
            events += self._supervisor.send(self._commands.get())
        return events

    def _request_shutdown(self) -> None:
        self._send_commands()
        self._supervisor.cancel_all()
        until = time.monotonic() + SHUTDOWN_GRACE_S
        while not self._supervisor.is_done and time.monotonic() < until:
            self._supervisor.receive(POLL_SECONDS)

    def _report(self) -> None:
        if self._pending and self._can_take.is_set():
            self._can_take.clear()
            batch, self._pending = self._pending, []
            self.events_received.emit(coalesce_progress(batch))

    @Slot()
    def _on_taken(self) -> None:
        self._can_take.set()


def coalesce_progress(batch: list[Envelope]) -> list[Envelope]:
    """Return the batch without progress that later progress of its stage replaces.

    Otherwise an engine that reports 40,000 steps a second would keep the window busy
    with invisible progress. Memory samples and log lines in between are kept.
    """
    kept: list[Envelope] = []
    later: tuple[str, Stage, int] | None = None  # the stage that has later progress
    for envelope in reversed(batch):
        event = envelope.event
        if isinstance(event, Progressed):
            stage = (envelope.run, event.stage, event.shot)
            if stage == later:
                continue
            later = stage
        elif not isinstance(event, MemorySampled | Logged):
            later = None
        kept.append(envelope)
    return kept[::-1]
