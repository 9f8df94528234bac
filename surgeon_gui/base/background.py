"""Work beside the window: done in a thread of its own, its result told in the window's.

    self._background = Background(self)
    self._background.start(partial(read_folder, path), self._on_read)

The work touches no widget and no QObject. Its result comes as a call in the thread of
the window, unless the owner is gone by then. For short work on files: the engine does
what takes its time and can be cancelled. What reads need not be over when the window
closes; for what writes somebody calls `finish`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal, Slot


@dataclass(slots=True)
class _Job:
    work: Callable[[], Any]
    then: Callable[[Any], object]
    otherwise: Callable[[], object]
    result: Any = None
    is_done: bool = False  # False after the work: it raised


class _Relay(QObject):
    """Sends from the thread of the work; belongs to whoever of both lives longer."""

    ended = Signal(object)  # _Job


class Background(QObject):
    """Starts work, each in its own thread. What it raises goes to the hooks."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._threads: list[threading.Thread] = []
        self._relay = _Relay()
        self._relay.ended.connect(self._on_ended, Qt.ConnectionType.QueuedConnection)

    def start(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], object],
        otherwise: Callable[[], object] = lambda: None,
    ) -> None:
        """Call `then` with what `work` returns; `otherwise` if it has raised."""
        relay, job = self._relay, _Job(work, then, otherwise)

        def run() -> None:
            try:
                job.result = job.work()
                job.is_done = True
            finally:
                relay.ended.emit(job)

        # A daemon: reading need not be over before the program can end.
        thread = threading.Thread(target=run, daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(thread)
        thread.start()

    def finish(self) -> None:
        """Wait for all work that has begun, as the window closes."""
        for thread in self._threads:
            thread.join()

    @Slot(object)
    def _on_ended(self, job: _Job) -> None:
        if job.is_done:
            job.then(job.result)
        else:
            job.otherwise()
