"""The outside end of a process with one model in it: starts it, asks it, ends it.

A process for each model, so that the memory of one is not counted with the other, and
what the allocator has learnt from one does not help the other. Imports neither torch
nor Qt.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import msgspec

from surgeon_engine.api.errors import EvaluationError, ModelError

# The threads of a model that waits for its turn must not spin: they would take the
# processor from the one whose turn it is.
_IDLE_WHEN_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
_SECONDS_BETWEEN_LOOKS = 0.05

_R = TypeVar("_R", bound=msgspec.Struct)


class RequestFailed(msgspec.Struct, frozen=True, tag=True):
    """It cannot be done: an `EngineError` in words."""

    message: str
    hint: str


class SubprocessClient:
    """One model in a process of its own; as a context, it ends with it.

    `replies` is the union of what the process can answer, `doing` says in its errors
    what cannot be done.
    """

    def __init__(
        self,
        source: str,
        command: tuple[str, ...],
        replies: Any,
        doing: str = "measured",
    ) -> None:
        self._source = source
        self._doing = doing
        self._decoder = msgspec.json.Decoder(replies)
        self._is_asked = False  # and has not yet answered
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=os.environ | _IDLE_WHEN_WAITING,
            )
        except OSError:
            self._errors.close()
            raise
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> SubprocessClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def ask(
        self, request: msgspec.Struct, answer: type[_R], check: Callable[[], None]
    ) -> _R:
        """The reply to `request`; `check` is called now and then until it is there.

        Raises:
            ModelError: the process refuses, with its words.
            EvaluationError: it has ended, or says what makes no sense.
        """
        self._send(request)
        self._is_asked = True
        while True:
            check()
            try:
                line = self._lines.get(timeout=_SECONDS_BETWEEN_LOOKS)
                break
            except queue.Empty:
                continue
        self._is_asked = False
        if line is None:
            raise self._failure(self._exit_reason())
        try:
            reply = self._decoder.decode(line)
        except msgspec.MsgspecError:
            said = line.decode(errors="replace").strip()
            raise self._failure(f'its process said "{said}"') from None
        if isinstance(reply, RequestFailed):
            raise ModelError(reply.message, reply.hint)
        assert isinstance(reply, answer)
        return reply

    def wait_until_idle(self, seconds: float) -> bool:
        """Whether it is free for another request, within so many seconds at most.

        What it still has to say to a request that nobody waits for is dropped.
        """
        if self._is_asked:
            try:
                self._is_asked = self._lines.get(timeout=seconds) is None
            except queue.Empty:
                return False
        return not self._is_asked and self._process.poll() is None

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                pass  # a half-sent request was still in the buffer

    def _send(self, request: msgspec.Struct) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it is gone; the end of its output says so

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _failure(self, reason: str) -> EvaluationError:
        return EvaluationError(
            f"{Path(self._source).name} cannot be {self._doing}: {reason.rstrip('.')}.",
            "It may have run out of memory; close other programs, or choose a "
            "smaller model.",
        )

    def _exit_reason(self) -> str:
        """The last line of its complaints, or how it came to its end."""
        code = self._process.wait()
        self._errors.seek(0)
        complaint = self._errors.read().decode(errors="replace").strip()
        if code == -getattr(signal, "SIGKILL", 0) != 0:
            return (
                "its process was killed by the system, most likely for want of memory"
            )
        return (complaint.splitlines() or [f"its process ended with code {code}"])[-1]
