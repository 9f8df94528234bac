"""Which process works on something, in a file that outlives it.

    {"pid": 4711, "created": 1764061962.31}

Process numbers are used again, so the time at which the process was created is kept
too. Imports neither torch nor Qt.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import psutil

_SAME_TIME = 1.0  # seconds; systems round the time of creation differently


class ProcessMark(msgspec.Struct, frozen=True):
    """One process among all that have ever had its number."""

    pid: int
    created: float  # seconds since the epoch


def mark_of_this_process() -> bytes:
    """The process that asks, as it is to stand in a file."""
    process = psutil.Process()
    mark = ProcessMark(process.pid, process.create_time())
    return msgspec.json.encode(mark)


def is_at_work(path: Path) -> bool:
    """Whether the process whose mark lies at `path` is alive.

    It is not where there is no mark, or none that can be read.
    """
    try:
        mark = msgspec.json.decode(path.read_bytes(), type=ProcessMark)
        created = psutil.Process(mark.pid).create_time()
    except (OSError, msgspec.MsgspecError, psutil.Error, ValueError):
        return False
    return abs(created - mark.created) < _SAME_TIME
