"""Clients of the engine: send commands, receive events.

The engine normally runs in a process of its own. GPU memory is freed when it exits, an
out-of-memory crash does not affect the caller, and the caller need not import torch.
The engine's end is `surgeon_engine.server`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol

from surgeon_engine.api.messages.commands import Command
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.base.decoding import json_decoder
from surgeon_engine.base.json_process import JsonProcess, module_command
from surgeon_engine.base.sentences import say

ENGINE_COMMAND = module_command("surgeon_engine", "serve")
CANCEL_TIMEOUT_S = 5.0  # then an engine that ignores a cancel is killed


class EngineClient(Protocol):
    """A connection to one engine."""

    def send(self, command: Command) -> None:
        """Send a command; has no effect once the engine has exited."""

    def receive(self, timeout: float) -> Envelope | None:
        """Return the next event, or None if none arrives within `timeout` seconds."""

    @property
    def ended(self) -> bool:
        """Whether the engine has exited and all its events have been received."""

    def exit_reason(self) -> tuple[str, str]:
        """Return why the engine exited, as a sentence, and its last error output."""

    def kill(self) -> None:
        """Kill the engine and everything it has started, but for detached runs."""


class EngineProcess(JsonProcess[Envelope]):
    """A client of an engine in a process of its own.

    Raises:
        OSError: The engine cannot be started.
    """

    def __init__(self, command: tuple[str, ...] = ENGINE_COMMAND) -> None:
        super().__init__(command, json_decoder(Envelope))

    def exit_reason(self) -> tuple[str, str]:
        """Return why the engine exited, as a sentence, and its last error output."""
        process_exit = self.wait_for_exit()
        message = say("The engine {reason:clause}.", reason=process_exit.reason)
        return message, process_exit.details


class ThreadedEngine(Protocol):
    """An engine that runs in a thread of this process."""

    def serve(self) -> None:
        """Execute commands until `stop` is called."""

    def handle(self, command: Command) -> None:
        """Take a command, from any thread."""

    def stop(self) -> None:
        """Cancel all commands and make `serve` return."""


class EngineThreadClient:
    """A client of an engine in a thread of this process.

    `make_engine` makes the engine, which passes its events to the given function.
    """

    def __init__(
        self, make_engine: Callable[[Callable[[Envelope], None]], ThreadedEngine]
    ) -> None:
        self._events: queue.SimpleQueue[Envelope] = queue.SimpleQueue()
        self._engine = make_engine(self._events.put)
        self._thread = threading.Thread(target=self._engine.serve, daemon=True)
        self._thread.start()

    def send(self, command: Command) -> None:
        """Send a command; has no effect once the engine has ended."""
        self._engine.handle(command)

    def receive(self, timeout: float) -> Envelope | None:
        """Return the next event, or None if none arrives within `timeout` seconds."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    @property
    def ended(self) -> bool:
        """Whether the engine has ended and all its events have been received."""
        return not self._thread.is_alive() and self._events.empty()

    def exit_reason(self) -> tuple[str, str]:
        """Return that the thread has ended, and no error output."""
        return "The engine's thread has ended.", ""

    def kill(self) -> None:
        """Cancel all commands and wait: a thread cannot be killed."""
        self._engine.stop()
        self._thread.join()
