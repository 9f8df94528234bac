"""A file that names the process working on a folder.

    {"pid": 4711, "created": 1764061962.31}

The file remains when the process exits, so it counts only while that process is alive.
The system reuses process IDs, so the creation time is stored too.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import psutil

_TIME_TOLERANCE_S = 1.0  # systems round creation times differently


class ProcessLock(msgspec.Struct, frozen=True):
    """The identity of a process: its ID alone may be reused."""

    pid: int
    created: float  # seconds since the epoch


def encode_process_lock() -> bytes:
    """Return the lock of the current process, as the content of a file."""
    process = psutil.Process()
    lock = ProcessLock(process.pid, process.create_time())
    return msgspec.json.encode(lock)


def is_locked(path: Path) -> bool:
    """Return True if the process that wrote the lock at `path` is alive.

    A missing or unreadable file is no lock.
    """
    try:
        lock = msgspec.json.decode(path.read_bytes(), type=ProcessLock)
        process = psutil.Process(lock.pid)
        created = process.create_time()
        if process.status() == psutil.STATUS_ZOMBIE:
            return False  # it has ended, and nobody has asked how
    except (OSError, msgspec.MsgspecError, psutil.Error, ValueError):
        return False
    return abs(created - lock.created) < _TIME_TOLERANCE_S
