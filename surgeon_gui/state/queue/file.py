"""The queue on the disk: two files in the runs folder.

    queue.json            the runs of a queue that is not complete, sealed
    queue-process.json    the process of the window that has the queue

One window at a time has the queue of a runs folder. A process that was killed leaves
both files, and the next window takes the queue over.
"""

from __future__ import annotations

import os
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

import msgspec

from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.base.errors import ConfigError, UnreadableFileError
from surgeon_engine.base.files import write_atomically
from surgeon_engine.base.process_lock import ProcessLock, Use, end_lock, use_of
from surgeon_engine.base.sealed_json import read_sealed_json, sealed_json
from surgeon_engine.base.versions import QUEUE
from surgeon_engine.planning.estimate import Estimate
from surgeon_gui.state.queue.state import QueuedRun, QueueState, QueueStatus, with_added
from surgeon_gui.state.queue.text import run_name

_LIMIT = 4 << 20  # bytes; a job has some thousand
# What a run of the queue and a stored one have in common after the job.
_OTHERS = attrgetter("estimate", "status", "folder", "problem", "may_replace")


class _StoredRun(msgspec.Struct):
    job: str  # TOML
    estimate: Estimate | None
    status: QueueStatus
    folder: str
    problem: str
    may_replace: bool


class _StoredQueue(msgspec.Struct):
    runs: list[_StoredRun]


class UnreadableQueueError(Exception):
    """The queue cannot be read; the message gives the reason."""


class QueueFile:
    """The files of the queue in the runs folder `parent`."""

    def __init__(self, parent: Path) -> None:
        self.path = parent / "queue.json"
        self._lock = ProcessLock(parent / "queue-process.json")

    @property
    def is_mine(self) -> bool:
        """True if this object has the queue."""
        return self._lock.is_held

    @property
    def use(self) -> Use | None:
        """The use of the queue by another window; None: it is free, or has this one."""
        return None if self.is_mine else use_of(self._lock.path)

    def read(self) -> tuple[QueuedRun, ...]:
        """Take the queue and return its runs; without any, the queue stays free.

        Raises:
            UnreadableQueueError: The file is damaged, or cannot be read.
            LockedError: Another window has the queue.
        """
        if not os.path.lexists(self.path):
            return ()
        with suppress(OSError, UnreadableFileError):  # a folder that cannot be written
            self._take()
        try:
            stored = read_sealed_json(self.path, _StoredQueue, QUEUE, _LIMIT)
            runs = tuple(map(_restored, stored.runs))
        except (UnreadableFileError, ConfigError) as error:
            self.release()
            raise UnreadableQueueError(error.message.rstrip(".")) from error
        return with_added(QueueState(), runs).runs  # no name twice

    def write(self, runs: tuple[QueuedRun, ...]) -> None:
        """Write the queue; without runs, remove its files if this object has it.

        Raises:
            OSError: The files cannot be written.
            UnreadableFileError: The disk has no locks, or the lock is no file.
            LockedError: Another window has the queue.
        """
        if not runs:
            if self.is_mine:  # another window may have begun its own since
                self.path.unlink(missing_ok=True)
                self.release()
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._take()
        stored = [_StoredRun(config_to_toml(run.config), *_OTHERS(run)) for run in runs]
        write_atomically(self.path, sealed_json(_StoredQueue(stored), QUEUE, indent=2))

    def release(self) -> None:
        """Let another window have the queue."""
        self._lock.release()

    def take_over(self) -> None:
        """Free a queue of another computer whose window, a person says, is closed.

        Raises:
            OSError: Its lock cannot be removed.
            UnreadableFileError: See `write`.
            LockedError: A window of this computer has the queue.
        """
        end_lock(self._lock.path)

    def _take(self) -> None:
        if not self.is_mine:
            self._lock.acquire()


def _restored(stored: _StoredRun) -> QueuedRun:
    """Return a run with its name in the language of this window.

    Raises:
        ConfigError: Its job is none.
    """
    config = config_from_toml(stored.job)
    return QueuedRun(run_name(config), config, *_OTHERS(stored))
