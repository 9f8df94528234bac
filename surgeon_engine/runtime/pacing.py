"""Keep the pace of a run while other programs compute on the same cores.

OpenMP divides each operation of torch among threads, which wait for each other at its
end. A waiting thread spins for a while before it sleeps, since waking it takes longer
than most operations of a small model. If another program has its core, though, the
thread that it waits for cannot run, and each operation takes as long as the spinning:
on two cores, one busy program made a run take twenty times as long.

`surgeon_engine/__init__.py` shortens the spinning for every process. Within
`steady_pace`, threads also stop spinning for as long as other programs take the cores.
The number of threads stays the same, and so does each bit of the result.

GCC's OpenMP library spins for 100 rounds only while it has more threads than there are
cores (`gomp_throttled_spin_count_var`, config/linux/wait.h). `_IdleThreads` starts
them.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

_INTERVAL_S = 0.5
# Seconds for which threads were ready but had no core, in each second of the run.
_SCARCE, _ENOUGH = 0.15, 0.05
_TASKS = Path("/proc/self/task")
_GRAIN = 32_768  # elements; torch divides no smaller operation (GRAIN_SIZE in ATen)


@contextmanager
def steady_pace() -> Iterator[None]:
    """Let waiting threads sleep at once during the block while cores are scarce.

    Has no effect on other systems than Linux, or with one thread.
    """
    if not sys.platform.startswith("linux") or torch.get_num_threads() < 2:
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(ended,), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def _watch(ended: threading.Event) -> None:
    idle, before = _IdleThreads(), _seconds_waited()
    while not ended.wait(_INTERVAL_S):
        now = _seconds_waited()
        share, before = (now - before) / _INTERVAL_S, now
        if share > _SCARCE:
            idle.start()
        elif share < _ENOUGH:
            idle.stop()
    idle.stop()


def _seconds_waited() -> float:
    """Return how long the threads of this process have waited for a core so far.

    Documented as the second number of `schedstat` in Documentation/scheduler/
    sched-stats.rst of Linux; 0 where the kernel does not count it.
    """
    found = 0
    for path in _TASKS.glob("*/schedstat"):
        with suppress(OSError, IndexError, ValueError):  # the thread has ended
            found += int(path.read_text().split()[1])
    return found / 1e9


class _IdleThreads:
    """Threads of OpenMP that sleep: with them there are more threads than cores."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads, unless they are there."""
        if self._threads:
            return
        self._end.clear()
        threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
        for _ in range(max(0, cores - threads) // (threads - 1) + 1):
            thread = threading.Thread(target=_wait_idle, args=(self._end,))
            thread.daemon = True
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the threads: none of them may be in torch when the process ends."""
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()


def _wait_idle(end: threading.Event) -> None:
    """Make OpenMP start threads for this one, and keep them until `end`."""
    torch.zeros(_GRAIN * torch.get_num_threads()).add_(1)
    end.wait()
