"""Functions that misbehave as libraries do, for a process of its own."""

import os
import signal
import time
from pathlib import Path

from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.runtime import fence


def parts(path: Path) -> tuple[str, int]:
    return path.name, os.getpid()


def misbehave(kind: str) -> None:
    match kind:
        case "refuse":
            raise CalibrationError("It is short.", "Choose a longer one.")
        case "raise":
            raise TypeError("'>' not supported\nbetween these")
        case "panic":
            raise type("PanicException", (BaseException,), {})("no entry found")
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            while True:
                pass
        case "memory":
            bytearray(2 * fence.MEMORY)
        case "print":
            os.write(1, b"{}\n")
            os.write(2, b"thread panicked at src/lib.rs\n")


def slow() -> int:
    for _ in range(10):
        time.sleep(0.05)
        fence.alive()
    return 7
