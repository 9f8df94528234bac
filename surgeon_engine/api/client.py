"""The engine in a process of its own: commands go in as lines of JSON, events come out.

A process, not a thread: its end gives all GPU memory back, running out of memory
takes the engine down but not the window, and the window need not import torch. This
is the outside end of the line, `server.py` the inside end. Imports neither torch nor
Qt.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO, Protocol

import msgspec
import psutil

from surgeon_engine.api.messages.commands import Command
from surgeon_engine.api.messages.events import Envelope

ENGINE_COMMAND = (sys.executable, "-m", "surgeon_engine", "serve")
# Threads of torch that wait do not spin: on two cores with other work on them a shot
# takes half as long, on idle ones a quarter longer for the smallest models only.
_POLITE = {"OMP_WAIT_POLICY": "PASSIVE"}
_STDERR_TAIL = 4000  # characters of the engine's error output that are kept


class EngineClient(Protocol):
    """One engine, wherever it runs."""

    def send(self, command: Command) -> None:
        """Tell the engine something; does nothing once the engine has ended."""

    def receive(self, timeout: float) -> Envelope | None:
        """The next event, or None when none came within `timeout` seconds."""

    @property
    def ended(self) -> bool:
        """Whether the engine is gone and all its events have been received."""

    def exit_reason(self) -> tuple[str, str]:
        """Why the engine is gone, in a sentence, and its last words."""

    def kill(self) -> None:
        """End the engine and whatever it started, at once."""


class EngineProcess:
    """An engine in a process of its own."""

    def __init__(self, command: tuple[str, ...] = ENGINE_COMMAND) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # an interrupt of the terminal is for us alone
                env=_POLITE | os.environ,
            )
        except OSError:
            self._errors.close()
            raise
        self._events: queue.Queue[Envelope | None] = queue.Queue()
        self._writing = threading.Lock()
        self._ended = False
        self._stderr_tail = ""
        self._garbled = ""  # a line that was no event
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The number of the engine's process."""
        return self._process.pid

    def send(self, command: Command) -> None:
        """See `EngineLink.send`."""
        assert self._process.stdin is not None
        with self._writing:
            try:
                self._process.stdin.write(msgspec.json.encode(command) + b"\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                pass  # it is gone; `receive` and `ended` say so

    def receive(self, timeout: float) -> Envelope | None:
        """See `EngineLink.receive`."""
        if self._ended:
            return None
        try:
            envelope = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if envelope is None:
            self._ended = True
        return envelope

    @property
    def ended(self) -> bool:
        """See `EngineLink.ended`."""
        return self._ended

    def exit_reason(self) -> tuple[str, str]:
        """See `EngineLink.exit_reason`."""
        code = self._process.wait()
        self._keep_stderr_tail()
        if self._garbled:
            return "The engine sent a line that is no event.", self._garbled
        return _describe_exit(code), self._stderr_tail

    def kill(self) -> None:
        """See `EngineLink.kill`."""
        kill_process_tree(self._process.pid)
        if hasattr(os, "killpg"):
            # What a dead engine had started is no child of it any more, but still of
            # the group that was made for it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass  # a half-sent command was still in the buffer
        self._keep_stderr_tail()
        self._ended = True

    def _keep_stderr_tail(self) -> None:
        if self._errors.closed:
            return
        with self._errors as errors:
            size = errors.seek(0, 2)
            errors.seek(max(0, size - _STDERR_TAIL))
            self._stderr_tail = errors.read().decode(errors="replace")

    def _read(self) -> None:
        assert self._process.stdout is not None
        decoder = msgspec.json.Decoder(Envelope)
        for line in self._process.stdout:
            try:
                self._events.put(decoder.decode(line))
            except msgspec.MsgspecError:
                # Nothing after it can be trusted: better no engine than a mute one.
                self._garbled = line.decode(errors="replace").strip()
                kill_process_tree(self._process.pid)
                break
        self._events.put(None)


class EngineThreadClient:
    """The same engine in a thread of this process: for debugging.

    It loads torch into the caller's process, so it is imported by name and only here.
    """

    def __init__(self) -> None:
        server = importlib.import_module("surgeon_engine.server")
        self._events: queue.Queue[Envelope] = queue.Queue()
        self._engine = server.Engine(self._events.put)
        self._thread = threading.Thread(target=self._engine.serve, daemon=True)
        self._thread.start()

    def send(self, command: Command) -> None:
        """See `EngineLink.send`."""
        self._engine.handle(command)

    def receive(self, timeout: float) -> Envelope | None:
        """See `EngineLink.receive`."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    @property
    def ended(self) -> bool:
        """See `EngineLink.ended`."""
        return not self._thread.is_alive() and self._events.empty()

    def exit_reason(self) -> tuple[str, str]:
        """See `EngineLink.exit_reason`."""
        return "The engine's thread has ended.", ""

    def kill(self) -> None:
        """Ask the thread to end and wait for it: a thread cannot be ended by force."""
        self._engine.stop()
        self._thread.join()


def kill_process_tree(pid: int) -> None:
    """End the process `pid` and all that it started."""
    try:
        process = psutil.Process(pid)
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(family[:-1], timeout=5)


def _describe_exit(code: int) -> str:
    if code == -getattr(signal, "SIGKILL", 0) != 0:
        return "The engine was killed by the system, most likely for want of memory."
    if code < 0:
        return f"The engine crashed (signal {-code}, {signal.strsignal(-code)})."
    return f"The engine ended without a word (exit code {code})."
