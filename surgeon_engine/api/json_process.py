"""Child processes that read and write JSON lines on their standard streams.

`JsonProcess` starts a child, sends it messages, receives its messages and kills it with
everything it has started. `SubprocessClient` adds requests with one response each. The
child's end of the streams is `surgeon_engine.runtime.json_streams`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import msgspec
import psutil

from surgeon_engine.api.decoding import json_decoder
from surgeon_engine.api.errors import EvaluationError, ModelError

_STDERR_TAIL_BYTES = 8_000
_EXIT_GRACE_S = 5.0
_POLL_INTERVAL_S = 0.05

_MessageT = TypeVar("_MessageT")
_ResponseT = TypeVar("_ResponseT", bound=msgspec.Struct)


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

    @property
    def was_killed(self) -> bool:
        """Whether the operating system killed the process."""
        return self.code == -getattr(signal, "SIGKILL", 0) != 0

    @property
    def reason(self) -> str:
        """The reason as a predicate, such as "exited unexpectedly (exit code 1)"."""
        if self.invalid_line:
            return "wrote a line that is not a valid message"
        if self.was_killed:
            return "was killed by the system, probably because memory ran out"
        if self.code < 0:
            name = signal.strsignal(-self.code)
            return f"crashed (signal {-self.code}, {name})"
        return f"exited unexpectedly (exit code {self.code})"

    @property
    def details(self) -> str:
        """The invalid line if there is one, else the tail of the error output."""
        return self.invalid_line or self.stderr

    @property
    def summary(self) -> str:
        """One line: the last line of the error output, or `reason`."""
        if self.invalid_line:
            return f'its process {self.reason}: "{self.invalid_line}"'
        lines = self.stderr.strip().splitlines()
        if self.was_killed or not lines:
            return f"its process {self.reason}"
        return lines[-1]


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
        environment: The child's environment variables.

    Raises:
        OSError: The program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        decode: Callable[[bytes], _MessageT],
        environment: Mapping[str, str],
    ) -> None:
        self._decode = decode
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
                env=environment,
            )
        except OSError:
            self._stderr.close()
            raise
        self._messages: queue.Queue[_MessageT | None] = queue.Queue()  # None: the end
        self._write_lock = threading.Lock()
        self._ended = False
        self._is_killed = False
        self._stderr_tail = ""
        self._invalid_line = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> JsonProcess[_MessageT]:
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
        return self._ended

    def send(self, message: msgspec.Struct) -> None:
        """Write a message to the process; has no effect once it has exited."""
        assert self._process.stdin is not None
        with self._write_lock:
            try:
                self._process.stdin.write(msgspec.json.encode(message) + b"\n")
                self._process.stdin.flush()
            except (OSError, ValueError):
                pass  # it has exited, which `receive` and `ended` report

    def receive(self, timeout: float) -> _MessageT | None:
        """Return the next message, or None if none arrives within `timeout` seconds.

        None is returned at once if the output has ended: then `ended` is True.
        """
        if self._ended:
            return None
        try:
            message = self._messages.get(timeout=timeout)
        except queue.Empty:
            if not self.is_running:
                self._kill_group()  # a descendant may keep the output open
            return None
        if message is None:
            self._ended = True
        return message

    def wait_for_exit(self) -> ProcessExit:
        """Return how the process exited. Call this once `ended` is True.

        A process that still runs some seconds after closing its output is killed.
        """
        try:
            self._process.wait(_EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._kill_group()
        code = self._process.wait()
        return ProcessExit(code, self._read_stderr_tail(), self._invalid_line)

    def kill(self) -> None:
        """Kill the process and everything it has started, and close its streams."""
        if self._is_killed:
            return
        self._is_killed = True
        self._kill_group()
        self._process.wait()
        self._reader.join()
        self._read_stderr_tail()
        self._stderr.close()
        with self._write_lock:
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                try:
                    stream.close()
                except OSError:
                    pass  # the buffer still held a partly written message
        self._ended = True

    def _kill_group(self) -> None:
        if self.is_running:
            kill_process_tree(self.pid)
        if hasattr(os, "killpg"):
            # Descendants whose parent has exited are no longer in the process tree, but
            # still in the group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _read_stderr_tail(self) -> str:
        if not self._stderr.closed:
            size = self._stderr.seek(0, os.SEEK_END)
            self._stderr.seek(max(0, size - _STDERR_TAIL_BYTES))
            self._stderr_tail = self._stderr.read().decode(errors="replace")
        return self._stderr_tail

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                try:
                    self._messages.put(self._decode(line))
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    self._invalid_line = line.decode(errors="replace").strip()
                    self._kill_group()
                    break
        finally:
            self._messages.put(None)


class RequestFailed(msgspec.Struct, frozen=True, tag=True):
    """The response to a request that raised an `EngineError`."""

    message: str
    hint: str


class SubprocessClient:
    """A process that holds one model and responds to requests, one at a time.

    Models run in separate processes so that the memory of one is not counted with the
    other's, and so that they do not share an allocator. As a context manager, it kills
    the process on exit.

    Args:
        source: The model, as named in error messages.
        command: The program and its arguments.
        responses: The union of all response types.
        action: What the process does with the model, as a participle for error
            messages.
    """

    def __init__(
        self,
        source: str,
        command: Sequence[str],
        responses: Any,
        action: str = "measured",
    ) -> None:
        self._source = source
        self._action = action
        self._has_open_request = False
        self._process: JsonProcess[Any] = JsonProcess(
            command,
            json_decoder(responses).decode,
            os.environ,
        )

    def __enter__(self) -> SubprocessClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ask(
        self,
        request: msgspec.Struct,
        response_type: type[_ResponseT],
        check: Callable[[], None],
    ) -> _ResponseT:
        """Send `request` and wait for its response.

        `check` is called repeatedly while waiting; it may raise to stop waiting.

        Raises:
            ModelError: The process responded with `RequestFailed`.
            EvaluationError: The process exited, or wrote an invalid line.
        """
        self._process.send(request)
        self._has_open_request = True
        while True:
            check()
            response = self._process.receive(_POLL_INTERVAL_S)
            if response is not None:
                break
            if self._process.ended:
                raise self._failure()
        self._has_open_request = False
        if isinstance(response, RequestFailed):
            raise ModelError(response.message, response.hint)
        assert isinstance(response, response_type)
        return response

    def wait_until_idle(self, timeout: float) -> bool:
        """Return True if the process can take a request within `timeout` seconds.

        A response that is still due, because `check` has raised, is discarded.
        """
        if self._has_open_request:
            self._has_open_request = self._process.receive(timeout) is None
        return not self._has_open_request and self._process.is_running

    def kill(self) -> None:
        """Kill the process and everything it has started."""
        self._process.kill()

    def _failure(self) -> EvaluationError:
        reason = self._process.wait_for_exit().summary.rstrip(".")
        return EvaluationError(
            f"{Path(self._source).name} cannot be {self._action}: {reason}.",
            "It may have run out of memory; close other programs, or choose a "
            "smaller model.",
        )


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
