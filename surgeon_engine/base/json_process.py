"""Child processes that read and write JSON lines on their standard streams.

`JsonProcess` starts a child, sends it messages, receives its messages and kills it with
everything it has started. `calls.py` adds calls with an answer each. The child's end of
the streams is `surgeon_engine.runtime.json_streams`.

The child may be ssh, with a stranger at its other end. So three threads move the bytes,
and what they hold is bounded: a child that does not read, that writes without end, or
that writes faster than its messages are received blocks nothing here and fills nothing.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import msgspec
import psutil

from surgeon_engine.base.decoding import encode_json
from surgeon_engine.base.sentences import say

MAX_LINE_BYTES = 16 << 20  # the description of a model of 126 blocks has 0.2 MB
_MAX_UNREAD_BYTES = 32 << 20  # in lines that nobody has received; then reading stops
_MAX_UNSENT_BYTES = 1 << 20  # before the latest message; then the child does not read
_READ_BYTES = 65_536
_STDERR_TAIL_BYTES = 8_000
_MAX_SHOWN = 2_000  # bytes of an invalid line
_EXIT_GRACE_S = 5.0
_DRAIN_S = 1.0  # for the last output of a process that has ended

_MessageT = TypeVar("_MessageT")


def module_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module of the program in a new interpreter.

    A module in the current folder never takes the place of an installed one.
    """
    return (sys.executable, "-P", "-m", module, *arguments)


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """Exit code and last output of a child process."""

    code: int  # negative: the number of the signal that ended it
    stderr: str  # the tail of its error output
    invalid_line: str = ""  # the output line that could not be decoded
    misbehavior: str = ""  # why it was killed, as a predicate

    @property
    def was_killed(self) -> bool:
        """Whether the operating system killed the process."""
        return self.code == -getattr(signal, "SIGKILL", 0) != 0

    @property
    def reason(self) -> str:
        """The reason as a predicate, such as "exited unexpectedly (exit code 1)"."""
        if self.misbehavior:
            return self.misbehavior
        if self.was_killed:
            return say("was killed by the system, probably because memory ran out")
        if self.code < 0:
            name = signal.strsignal(-self.code)
            return say(
                "crashed (signal {number}, {name})", number=-self.code, name=name
            )
        return say("exited unexpectedly (exit code {code})", code=self.code)

    @property
    def details(self) -> str:
        """The invalid line if there is one, else the tail of the error output."""
        return self.invalid_line or self.stderr

    @property
    def summary(self) -> str:
        """One line: the last line of the error output, or `reason`."""
        if self.invalid_line:
            return say(
                'its process {why}: "{line}"', why=self.reason, line=self.invalid_line
            )
        lines = self.stderr.strip().splitlines()
        if self.misbehavior or self.was_killed or not lines:
            return say("its process {reason}", reason=self.reason)
        return lines[-1]


class _Inbox(Generic[_MessageT]):
    """Messages with their sizes, which together may exceed the limit by one message."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._messages: deque[tuple[_MessageT, int]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, message: _MessageT, size: int) -> None:
        """Add a message when there is room; a closed inbox takes none."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._bytes < self._max_bytes or self._is_closed
            )
            if self._is_closed:
                return
            self._bytes += size
            self._messages.append((message, size))
            self._changed.notify_all()

    def close(self) -> None:
        """Let no `put` and no `get` wait any longer."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def has_ended(self) -> bool:
        """Whether it is closed and empty."""
        return self._is_closed and not self._messages

    def get(self, timeout: float) -> _MessageT | None:
        """Return the next message; None if there is none in time, or at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._is_closed, timeout)
            if not self._messages:
                return None
            message, size = self._messages.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return message


class JsonProcess(Generic[_MessageT]):
    """A child process that exchanges JSON lines with this one.

    The child runs in a session of its own, so that an interrupt in the terminal reaches
    this process only, and `kill` reaches everything in the child's process group. As a
    context manager, it kills the child on exit.

    Args:
        command: The program and its arguments.
        decode: Converts a line of the child's output to a message. A line for which it
            raises `msgspec.MsgspecError` ends the child, since nothing after such a
            line can be trusted.
        environment: The child's environment variables; None: inherited.

    Raises:
        OSError: The program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        decode: Callable[[bytes], _MessageT],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._decode = decode
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment,
        )
        self._inbox: _Inbox[_MessageT] = _Inbox(_MAX_UNREAD_BYTES)
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._unsent_bytes = 0
        self._lock = threading.Lock()  # guards `_unsent_bytes`
        self._is_killed = False
        self._stderr_tail = b""
        self._invalid_line = ""
        self._misbehavior = ""
        tasks = (self._read, self._write, self._read_stderr)
        self._threads = [threading.Thread(target=each, daemon=True) for each in tasks]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The ID of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not exited yet."""
        return self._process.poll() is None

    @property
    def ended(self) -> bool:
        """Whether the output has ended and all messages have been received."""
        return self._is_killed or self._inbox.has_ended

    def send(self, message: msgspec.Struct) -> None:
        """Send a message to the process, at once if it reads.

        This never waits. It has no effect once the process has exited, and kills a
        process that has not read what it was sent before.
        """
        if not self.is_running:
            return
        line = encode_json(message) + b"\n"
        with self._lock:
            reads_nothing = self._unsent_bytes > _MAX_UNSENT_BYTES
            self._unsent_bytes += len(line)
        if reads_nothing:
            self._end(say("does not read what it is sent"))
        else:
            self._outbox.put(line)

    def receive(self, timeout: float) -> _MessageT | None:
        """Return the next message, or None if none arrives within `timeout` seconds.

        None is returned at once if the output has ended: then `ended` is True.
        """
        if self.ended:
            return None
        message = self._inbox.get(timeout)
        if message is None and not self._inbox.has_ended and not self.is_running:
            self._kill_group()  # a descendant may keep the output open
        return message

    def wait_for_exit(self, seconds: float | None = None) -> ProcessExit:
        """Return how the process exited. Call this once `ended` is True.

        A process that still runs some seconds after closing its output is killed.
        """
        try:
            self._process.wait(_EXIT_GRACE_S if seconds is None else seconds)
        except subprocess.TimeoutExpired:
            self._kill_group()
        code = self._process.wait()
        self._threads[-1].join(_DRAIN_S)  # a descendant may keep its end open
        stderr = self._stderr_tail.decode(errors="replace")
        return ProcessExit(code, stderr, self._invalid_line, self._misbehavior)

    def kill(self) -> None:
        """Kill the process and everything it has started, and close its streams."""
        if self._is_killed:
            return
        self._is_killed = True
        self._kill_group()
        self._process.wait()
        self._inbox.close()
        self._outbox.put(None)
        process, deadline = self._process, time.monotonic() + _DRAIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return  # a descendant that cannot be killed keeps its end open
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()

    def _kill_group(self) -> None:
        if self.is_running:
            kill_process_tree(self.pid)
        if hasattr(os, "killpg"):
            # Descendants whose parent has exited are no longer in the process tree, but
            # still in the group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _end(self, misbehavior: str, line: bytes = b"") -> None:
        """Kill a process that breaks the rules."""
        self._misbehavior = misbehavior
        self._invalid_line = line[:_MAX_SHOWN].decode(errors="replace").strip()
        self._kill_group()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            readline = self._process.stdout.readline
            while not self._is_killed and (line := readline(MAX_LINE_BYTES)):
                if len(line) == MAX_LINE_BYTES:
                    limit = MAX_LINE_BYTES
                    self._end(
                        say("wrote a line of more than {limit:,} bytes", limit=limit)
                    )
                    break
                try:
                    message = self._decode(line)
                except msgspec.MsgspecError:
                    self._end(say("wrote a line that is not a valid message"), line)
                    break
                self._inbox.put(message, len(line))
        finally:
            self._inbox.close()

    def _write(self) -> None:
        assert self._process.stdin is not None
        stdin = self._process.stdin.fileno()
        with contextlib.suppress(OSError):  # it has exited: `ended` says so
            while (line := self._outbox.get()) is not None:
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(stdin, rest) :]
                with self._lock:
                    self._unsent_bytes -= len(line)

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while data := os.read(self._process.stderr.fileno(), _READ_BYTES):
            self._stderr_tail = (self._stderr_tail + data)[-_STDERR_TAIL_BYTES:]


def kill_process_tree(pid: int) -> None:
    """Kill the process `pid` and all of its descendants."""
    try:
        process = psutil.Process(pid)
        descendants = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for each in (*descendants, process):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(descendants, timeout=_EXIT_GRACE_S)
