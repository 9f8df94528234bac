"""The child's end of a process that exchanges JSON lines on its standard streams.

The end of the standard input means that the parent has exited. Then this process ends
at once, in the middle of its work, with everything it has started. The parent's end is
`surgeon_engine.base.json_process`.

This module imports neither torch nor transformers, so that a process that needs neither
starts quickly.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from surgeon_engine.base.decoding import encode_json, json_decoder
from surgeon_engine.base.json_process import kill_process_tree

_STDIN = 0  # file descriptor
_READ_BYTES = 65_536
_PR_SET_PDEATHSIG = 1


class JsonOutput:
    """Writes messages as JSON lines to the standard output, from any thread.

    Anything else that is written to the standard output from now on, such as the prints
    of libraries, goes to the standard error.
    """

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._lock = threading.Lock()

    def write(self, message: msgspec.Struct) -> None:
        """Write one message and flush."""
        with self._lock:
            self._stream.write(encode_json(message) + b"\n")
            self._stream.flush()


def die_with_parent() -> None:
    """Let Linux kill this process when its parent ends.

    A thread that reads the standard input may have to wait for seconds, while a
    library is being loaded.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def read_messages(message_type: Any, handle: Callable[[Any], object]) -> None:
    """Start a thread that calls `handle` with each message on the standard input.

    For a process that only the end of its input ends: the interpreter cannot shut down
    while the thread holds the lock of `sys.stdin`.
    """

    def read() -> None:
        decode = json_decoder(message_type)
        for line in sys.stdin.buffer:
            handle(decode(line))
        kill_process_tree(os.getpid())

    die_with_parent()
    threading.Thread(target=read, daemon=True).start()


def exit_with_parent() -> None:
    """End this process with its parent, and ignore its input."""
    die_with_parent()

    def read() -> None:
        while os.read(_STDIN, _READ_BYTES):
            pass
        kill_process_tree(os.getpid())

    threading.Thread(target=read, daemon=True).start()
