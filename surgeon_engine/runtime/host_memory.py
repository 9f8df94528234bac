"""The memory of this machine, or the part that a container or a batch job may use.

Docker, Slurm and systemd limit the memory of processes by control groups of Linux. A
process that takes more than its group may have is killed, however much the machine has
free. Both versions of control groups are read where they usually are mounted.
https://docs.kernel.org/admin-guide/cgroup-v2.html#memory

The C library of Linux decides what becomes of memory that is freed: it is kept for the
next tensors within a stage, and returned to the system between stages.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import psutil

# Parameters of glibc's mallopt(3), and the bytes that a process may keep.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_ARENAS = 2  # malloc arenas that all threads share
_KEPT_BYTES = 2**30
_MAX_BEFORE_2_35 = 2**25  # the largest threshold that glibc accepted
_GROUPS = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS = Path("/proc/self/cgroup")


# The files of a version with limit and usage, and what its statistics write before the
# names of file pages, which are given back before a process is killed.
_Version: TypeAlias = tuple[str, str, str]
_FIRST: _Version = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
_SECOND: _Version = ("memory.max", "memory.current", "")


def total() -> int:
    """Return the bytes of memory that this process may use at most."""
    limits = [limit for limit, _ in _limits()]
    return min([int(psutil.virtual_memory().total), *limits])


def free() -> int:
    """Return the bytes of memory that this process may still take."""
    left = [max(0, limit - used) for limit, used in _limits()]
    return min([int(psutil.virtual_memory().available), *left])


def _limits() -> Iterator[tuple[int, int]]:
    """Yield limit and bytes in use of each group that limits this process."""
    if not sys.platform.startswith("linux"):
        return
    try:
        lines = _OF_THIS_PROCESS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield from _limits_above(_GROUPS, path, _SECOND)
        elif "memory" in controllers.split(","):
            yield from _limits_above(_GROUPS / "memory", path, _FIRST)


def _limits_above(
    root: Path, path: str, version: _Version
) -> Iterator[tuple[int, int]]:
    """Yield limit and bytes in use of a group and all above it.

    In a container the path may be the host's, and the root the container's own.
    """
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        try:
            yield _limit_of(folder, version)
        except (OSError, ValueError):  # no such group here, or one without a limit
            pass
        if folder == root:
            return


def _limit_of(group: Path, version: _Version) -> tuple[int, int]:
    limit_file, usage_file, prefix = version
    limit = int((group / limit_file).read_text())  # or "max"
    try:
        used = int((group / usage_file).read_text())
        statistics = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # not for everyone to read
        return limit, 0
    found = dict(line.split(" ", 1) for line in statistics)
    pages = (f"{prefix}active_file", f"{prefix}inactive_file")
    return limit, used - sum(int(found.get(name, 0)) for name in pages)


def reuse_freed() -> None:
    """Let this process keep the memory of freed tensors for the next ones.

    The C library of Linux returns large blocks to the system at once, and each new one
    is cleared page by page. Logits are such blocks: this takes a third of the time of
    an evaluation. Few arenas keep the memory of an engine the same over many runs; each
    run starts its own threads.
    """
    if (library := _glibc()) is not None:
        if not library.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES):
            library.mallopt(_MMAP_THRESHOLD, _MAX_BEFORE_2_35)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_ARENA_MAX, _ARENAS)


def return_freed() -> None:
    """Return to the system what `reuse_freed` keeps of freed tensors."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library, if it is the one of Linux with these functions."""
    if platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)
