"""Names of processes, in a file or in the name of a file.

    {"pid": 4711, "created": 1764061962.31}    the process that works on a folder
    .report.json.4711-1764061962-k3x1          a temporary file of the same process

What a process has written remains when it exits, so a name counts only while its
process is alive. The system reuses process IDs, so the creation time is stored too.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

import msgspec
import psutil

from surgeon_engine.api.decoding import decode_json

_TIME_TOLERANCE_S = 1.0  # systems round creation times differently
_TAG = re.compile(r"[.-](\d{1,10})-(\d{9,11})[.-]")


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
        lock = decode_json(path.read_bytes(), ProcessLock)
    except (OSError, msgspec.MsgspecError, ValueError):
        return False
    return _is_alive(lock)


def process_tag() -> str:
    """Return the name of the current process for names of temporary files."""
    return _tag_of(os.getpid())


@functools.cache
def _tag_of(pid: int) -> str:
    return f"{pid}-{int(psutil.Process(pid).create_time())}"


def is_left_over(name: str) -> bool:
    """Return True if `name` has the tag of a process that is no longer alive."""
    tag = _TAG.search(name)
    return tag is not None and not _is_alive(ProcessLock(int(tag[1]), int(tag[2])))


def _is_alive(lock: ProcessLock) -> bool:
    try:
        process = psutil.Process(lock.pid)
        created = process.create_time()
        if process.status() == psutil.STATUS_ZOMBIE:
            return False  # it has ended, and nobody has asked how
    except (psutil.Error, ValueError, OverflowError):
        return False
    return abs(created - lock.created) < _TIME_TOLERANCE_S
