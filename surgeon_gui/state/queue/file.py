"""The queue on the disk: two files in the runs folder.

    queue.json            the runs of a queue that is not complete
    queue-process.json    the process of the window that has the queue

One window at a time has the queue of a runs folder. A process that was killed leaves
both files, and the next window takes the queue over.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.api.decoding import decode_json
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.files import write_atomically
from surgeon_engine.api.planning.estimate import Estimate
from surgeon_engine.api.process_lock import encode_process_lock, is_locked
from surgeon_gui.state.queue.state import QueuedRun, QueueStatus


class _StoredRun(msgspec.Struct):
    name: str
    job: str  # TOML, so that jobs of earlier versions can be read
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
        self._lock_path = parent / "queue-process.json"
        self.is_mine = False  # True: this object has written the lock

    @property
    def is_taken(self) -> bool:
        """True if another window that is open has the queue."""
        return not self.is_mine and is_locked(self._lock_path)

    def read(self) -> tuple[QueuedRun, ...]:
        """Take the queue and return its runs.

        Raises:
            UnreadableQueueError: The file is damaged, or cannot be read.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise UnreadableQueueError(error.strerror or str(error)) from error
        try:
            stored = decode_json(data, _StoredQueue)
            runs = tuple(
                QueuedRun(
                    each.name,
                    config_from_toml(each.job),
                    each.estimate,
                    each.status,
                    each.folder,
                    each.problem,
                    each.may_replace,
                )
                for each in stored.runs
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, ConfigError) as error:
            raise UnreadableQueueError(str(error)) from error
        with suppress(OSError):  # a folder that cannot be written
            self._take()
        return runs

    def write(self, runs: tuple[QueuedRun, ...]) -> None:
        """Write the queue; without runs, remove its files.

        Raises:
            OSError: The files cannot be written.
        """
        if not runs:
            self.path.unlink(missing_ok=True)
            self.release()
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._take()
        stored = [
            _StoredRun(
                run.name,
                config_to_toml(run.config),
                run.estimate,
                run.status,
                run.folder,
                run.problem,
                run.may_replace,
            )
            for run in runs
        ]
        text = msgspec.json.format(msgspec.json.encode(_StoredQueue(stored)))
        write_atomically(self.path, text)

    def release(self) -> None:
        """Let another window have the queue."""
        if self.is_mine:
            self.is_mine = False
            with suppress(OSError):
                self._lock_path.unlink()

    def _take(self) -> None:
        if not self.is_mine:
            write_atomically(self._lock_path, encode_process_lock())
            self.is_mine = True
