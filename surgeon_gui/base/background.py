"""Run short work in a thread and deliver the result in the window's thread.

    self._background = Background(self)
    self._background.start(partial(read_folder, path), self._on_read)

The work must not touch widgets or QObjects. Its result is delivered by a call in the
thread of the window, unless the owner has been deleted. Use it for short file
operations only; the engine does what takes long and can be cancelled. Reading may be
abandoned when the window closes; an owner whose work writes files calls `finish`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal, Slot


@dataclass(slots=True)
class _Job:
    work: Callable[[], Any]
    on_done: Callable[[Any], object]
    on_failed: Callable[[], object]
    result: Any = None
    is_done: bool = False  # stays False if the work raises


class _Relay(QObject):
    """Emits from the thread of the work; kept alive by the owner and the thread."""

    ended = Signal(object)  # _Job


class Background(QObject):
    """Runs work in threads; exceptions go to `threading.excepthook`."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._threads: list[threading.Thread] = []
        self._relay = _Relay()
        self._relay.ended.connect(self._on_ended, Qt.ConnectionType.QueuedConnection)

    def start(
        self,
        work: Callable[[], Any],
        on_done: Callable[[Any], object],
        on_failed: Callable[[], object] = lambda: None,
    ) -> None:
        """Call `on_done` with the result of `work`, or `on_failed` if it raises."""
        relay, job = self._relay, _Job(work, on_done, on_failed)

        def run() -> None:
            try:
                job.result = job.work()
                job.is_done = True
            finally:
                with suppress(RuntimeError):  # Qt has ended, and deleted the relay
                    relay.ended.emit(job)

        # A daemon, so that unfinished reading does not keep the program from ending.
        thread = threading.Thread(target=run, daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(thread)
        thread.start()

    def finish(self) -> None:
        """Wait until all started work is done."""
        for thread in self._threads:
            thread.join()

    @Slot(object)
    def _on_ended(self, job: _Job) -> None:
        if job.is_done:
            job.on_done(job.result)
        else:
            job.on_failed()
