"""What a run needs of the outside: send events, be told to stop, measure its stages."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from surgeon_engine.commands import Cancel, StopAndKeep
from surgeon_engine.events import (
    Envelope,
    Event,
    Level,
    Logged,
    Progressed,
    Stage,
    StageStarted,
)
from surgeon_engine.run_folder import RunFolder

_SECONDS_BETWEEN_PROGRESS = 0.1  # more often nobody can read it


class RunCancelled(Exception):
    """Unwinds a run once the user has cancelled it."""


class Session:
    """The line of one run (or request) to the outside.

    The run works in one thread; `hear` may be called from another.
    """

    def __init__(self, run: str, send: Callable[[Envelope], object]) -> None:
        self.log: RunFolder | None = None  # where events are kept, once it exists
        self.started = time.monotonic()  # anew when the work begins
        self.seconds_of_stages: dict[str, float] = defaultdict(float)
        self._run = run
        self._send = send
        self._cancelled = threading.Event()
        self._stopping = threading.Event()

    def emit(self, event: Event) -> None:
        """Send `event`, and keep it in the run's folder."""
        envelope = Envelope(self._run, time.time(), event)
        self._send(envelope)
        if self.log is None:
            return
        try:
            self.log.append(envelope)
        except OSError as error:
            # The run itself need not end for that, but nobody may think it is kept.
            lost, self.log = self.log.events_path, None
            words = f"{lost} cannot be written any more: {error.strerror}."
            self.emit(Logged(Level.WARNING, words))

    def hear(self, command: Cancel | StopAndKeep) -> None:
        """Remember what was asked for; the run looks at it as it goes."""
        (self._cancelled if isinstance(command, Cancel) else self._stopping).set()

    @property
    def stops_after_shot(self) -> bool:
        """Whether the shot under way is to be the last."""
        return self._stopping.is_set()

    def check(self) -> None:
        """Return at once, or unwind the run.

        Raises:
            RunCancelled: the user has cancelled.
        """
        if self._cancelled.is_set():
            raise RunCancelled

    @contextmanager
    def stage(
        self, stage: Stage, shot: int = 0, total: int = 1
    ) -> Iterator[Callable[[], None]]:
        """Announce and time a stage of `total` steps; gives what to call after each."""
        self.check()
        self.emit(StageStarted(stage, shot))
        begun = last = time.monotonic()
        done = 0

        def step() -> None:
            nonlocal done, last
            self.check()
            done += 1
            if done == total or time.monotonic() - last > _SECONDS_BETWEEN_PROGRESS:
                last = time.monotonic()
                self.emit(Progressed(stage, shot, done, total))

        yield step
        self.seconds_of_stages[stage.value] += time.monotonic() - begun
