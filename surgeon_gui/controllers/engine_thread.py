"""The background thread that owns the engine, so that the GUI thread never waits.

    GUI thread   --send-->  inbox: calls of the supervisor  -->  engine
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
from functools import partial

from PySide6.QtCore import QThread, Signal, Slot

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


class EngineThread(QThread):
    """Run an engine for as long as the thread runs."""

    events_received = Signal(object)  # list[Envelope], in order

    def __init__(
        self,
        make_client: Callable[[], EngineClient] = EngineProcess,
        cancel_timeout_s: float = CANCEL_TIMEOUT_S,
        *,
        first: Callable[[], EngineClient] | None = None,
    ) -> None:
        """Create the thread; it uses the engine of `make_client` after `first`."""
        super().__init__()
        self.setObjectName("engine_thread")
        self.setStackSize(STACK_BYTES)
        self._make_client = make_client  # for an engine on this computer
        self._supervisor = EngineSupervisor(first or make_client, cancel_timeout_s)
        # What the thread does next; each call returns events.
        self._inbox: queue.SimpleQueue[Callable[[], list[Envelope]]]
        self._inbox = queue.SimpleQueue()
        self._ending = threading.Event()
        self._restarting = threading.Event()
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
        self._inbox.put(partial(self._supervisor.send, command))

    def restart_when_idle(self) -> None:
        """Start a new engine once no request is open; returns at once.

        The new one has the environment variables that this process has then.
        """
        self._restarting.set()

    def switch(
        self, make_client: Callable[[], EngineClient] | None, marker: str
    ) -> None:
        """Use another engine, None: an engine on this computer; return at once.

        The events of the engine before end with an empty log line that has the name
        `marker`.

        Watched runs go on. Other open requests are cancelled.
        """
        self._inbox.put(partial(self._switch, make_client or self._make_client, marker))

    def reconnect(self) -> None:
        """Try at once to connect with another computer again; returns at once."""
        self._inbox.put(self._supervisor.reconnect)

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
            self._empty_inbox()
            self._supervisor.shut_down(SHUTDOWN_GRACE_S, POLL_SECONDS)
        finally:
            self._supervisor.kill()

    def _collect(self) -> None:
        """Collect the events of the next `BATCH_SECONDS`."""
        until = time.monotonic() + BATCH_SECONDS
        while time.monotonic() < until and not self._ending.is_set():
            if self._restarting.is_set() and self.is_idle:
                self._restarting.clear()
                self._pending += self._supervisor.restart()
            self._empty_inbox()
            self._receive()

    def _receive(self) -> None:
        """Receive events, unless the window still has enough to show."""
        if len(self._pending) >= MAX_EVENTS:
            self._pending = coalesce_progress(self._pending)
        if len(self._pending) >= MAX_EVENTS:
            time.sleep(POLL_SECONDS)
        else:
            self._pending += self._supervisor.receive(POLL_SECONDS)

    def _empty_inbox(self) -> None:
        while not self._inbox.empty():
            self._pending += self._inbox.get()()

    def _switch(
        self, make_client: Callable[[], EngineClient], marker: str
    ) -> list[Envelope]:
        events = self._supervisor.switch(make_client)
        events.append(Envelope(marker, time.time(), Logged(Level.INFO, "")))
        return events + self._supervisor.start()

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
