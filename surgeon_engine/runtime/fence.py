"""Read the files of strangers in a process of its own.

Libraries that read tokenizers, tables, templates and configs may crash, never end or
take the whole memory on a file that was made for it. `call` runs such a function in a
process with limits of time and memory, and turns whatever happens there into an error.
The process is kept for the next call, and replaced once it has failed.

This module imports no torch, so that a program can start the process first and load
its own libraries meanwhile.
"""

from __future__ import annotations

import atexit
import base64
import importlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import psutil

from surgeon_engine.base.calls import Call, Refused, Returned
from surgeon_engine.base.decoding import json_decoder, to_builtins
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.json_process import JsonProcess, ProcessExit, module_command
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.sentences import Sentence, Text, say, say_all

SECONDS = 10.0  # for a call, or since its last `alive`; most take less than one
_ASLEEP = 1.5  # so many times as long if it sleeps, such as for a network
_WAITING = 6.0  # the same if it waits for a processor or a disk that others use
_AWAKE = (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
MEMORY = 4 << 30  # bytes that a call may add to the memory of the process
_GRACE_S = 8.0  # before the rate is judged
_POLL_S = 0.2
_START_S = 60.0  # to import libraries, which reads no file of a stranger
_OUT_OF_MEMORY = ("memory allocation", "bad_alloc", "MemoryError", "allocate memory")
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",  # a context would take seconds and memory
    "RUST_BACKTRACE": "0",
}
_T = TypeVar("_T")


class Alive(msgspec.Struct, frozen=True, tag=True):
    """The function has begun, or has made progress."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Any other exception."""

    reason: Text


Message = Alive | Returned | Refused | Failed


@dataclass(frozen=True, slots=True)
class Blame:
    """The error to raise if a reader fails: "SUBJECT cannot be read: REASON."."""

    error: type[EngineError]
    subject: str
    hint: Text
    seconds: float = SECONDS


_lock = threading.RLock()
_process: JsonProcess[Message] | None = None
_is_direct = False
_send: Callable[[msgspec.Struct], None] | None = None  # to the parent, in the process


def call(function: str, arguments: Sequence[Any], kind: type[_T], blame: Blame) -> _T:
    """Return the result of a function of this program, called in its own process.

    The function is named as module:name, and may not be loaded here. Its arguments and
    its result are of types that msgspec and `to_plain` can convert. `blame` is raised
    where it does not end as it should.

    Raises:
        EngineError: The function raised it; or it crashed, took too long or too much
            memory, or raised another error, which `blame` describes.
    """
    if _is_direct:
        return cast(_T, resolve(function)(*arguments))
    plain = [to_builtins(each, to_plain) for each in arguments]
    with _lock:
        try:
            answer = _answer(Call(function, plain, MEMORY), blame)
        except BaseException:
            close()
            raise
    if isinstance(answer, Refused):
        raise answer.error
    return json_decoder(kind, from_plain)(bytes(answer.value))


def start(*modules: str) -> None:
    """Start the process, which imports modules until the first call."""
    global _process
    if _is_direct:
        return
    with _lock:
        if _process is None or not _process.is_running:
            close()
            _process = JsonProcess(
                module_command("surgeon_engine.runtime.fence_process", *modules),
                json_decoder(Message),
                os.environ | _ENVIRONMENT,
            )


@atexit.register
def close() -> None:
    """End the process and release its memory; the next call starts another one."""
    global _process
    with _lock:
        if _process is not None:
            _process.kill()
        _process = None


def work_directly(send: Callable[[msgspec.Struct], None] | None = None) -> None:
    """Let calls run in this process, which another one watches.

    `send` tells that other one that a call makes progress.
    """
    global _is_direct, _send
    _is_direct, _send = True, send


def alive() -> None:
    """Restart the clock of the current call, which has made progress."""
    if _send is not None:
        _send(Alive())


class MinimumRate:
    """Restart the clock of a call with each part of its work, unless it is too slow.

    Args:
        per_second: The least that a sound file lets this machine do, on average.
        unit: What is counted, in the plural.
    """

    def __init__(self, per_second: float, unit: str) -> None:
        self._per_second, self._unit = per_second, unit
        self._seconds, self._last = 0.0, time.monotonic()
        self._done = 0

    def leave_out(self) -> None:
        """Leave out the time since the last part, such as the time to read a file."""
        self._last = time.monotonic()

    def count(self, done: int) -> None:
        """Add to what has been done.

        Raises:
            TimeoutError: It takes too long.
        """
        alive()
        self._done += done
        now = time.monotonic()
        self._seconds += now - self._last
        self._last = now
        if self._seconds > _GRACE_S and self._done < self._seconds * self._per_second:
            raise TimeoutError(
                say(
                    "{done:,} {unit} took {seconds:.0f} seconds",
                    done=self._done,
                    unit=self._unit,
                    seconds=self._seconds,
                )
            )


def resolve(function: str) -> Callable[..., Any]:
    """Return the function that module:name names."""
    module, _, name = function.partition(":")
    return cast(Callable[..., Any], getattr(importlib.import_module(module), name))


def to_plain(value: Any) -> Any:
    """Return a path, or a tensor of token ids, as plain values."""
    if isinstance(value, Path):
        return str(value)
    return {"shape": list(value.shape), "data": value.int().numpy().tobytes()}


def from_plain(kind: Any, value: Any) -> Any:
    """Return the path, or the int64 tensor, of `to_plain`."""
    if kind is Path:
        return Path(value)
    import numpy as np
    import torch

    ids = np.frombuffer(base64.b64decode(value["data"]), dtype=np.int32)
    return torch.from_numpy(ids.astype(np.int64)).view(value["shape"])


def describe(error: BaseException) -> str:
    """Return the reason that an exception of a library gives, in one line."""
    if error.args and isinstance(error.args[0], Sentence):
        return error.args[0]
    if isinstance(error, MemoryError) or _is_about_memory(str(error)):
        return _TOO_LARGE
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = "".join(char for char in lines[0] if char.isprintable())
    return line[:300].rstrip(".")


_TOO_LARGE = say("it takes more than {memory:size} of memory", memory=MEMORY)


def _answer(request: Call, blame: Blame) -> Returned | Refused:
    """Return the answer of the process to a request."""
    start()
    assert _process is not None
    _process.send(request)
    clock = _Clock(_process.pid, _START_S)
    while not clock.is_over:
        match _process.receive(_POLL_S):
            case Alive():
                clock = _Clock(_process.pid, blame.seconds)
            case Returned() | Refused() as answer:
                return answer
            case Failed(reason=reason):
                raise _error(blame, reason)
        if _process.ended:
            raise _error(blame, _reason_of(_process.wait_for_exit()))
    error = _error(
        blame, say("it takes more than {seconds:g} seconds", seconds=blame.seconds)
    )
    error.hint = say_all(say("Try again when other programs do less."), error.hint)
    error.is_timeout = True
    raise error


class _Clock:
    """Says when a process has worked for some seconds, or has slept for longer."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid, self._seconds = pid, seconds
        self._begun, (self._worked, _) = time.monotonic(), self._used()

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        waited = time.monotonic() - self._begun
        if waited <= self._seconds:
            return False
        worked, is_awake = self._used()
        longest = (_WAITING if is_awake else _ASLEEP) * self._seconds
        return worked - self._worked > self._seconds or waited > longest

    def _used(self) -> tuple[float, bool]:
        """Return the seconds of processors it has used, and whether it is awake."""
        try:
            process = psutil.Process(self._pid)
            times, status = process.cpu_times(), process.status()
        except psutil.Error:
            return 0.0, False
        return float(times.user + times.system), status in _AWAKE


def _error(blame: Blame, reason: str) -> EngineError:
    return blame.error(unreadable(blame.subject, reason), blame.hint)


def _reason_of(ended: ProcessExit) -> str:
    if _is_about_memory(ended.details):
        return _TOO_LARGE
    return say("the process that reads it {reason}", reason=ended.reason)


def _is_about_memory(text: str) -> bool:
    return any(phrase in text for phrase in _OUT_OF_MEMORY)
