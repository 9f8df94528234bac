"""What a run needs of the outside: send events, be told to stop, measure its stages."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from surgeon_engine.api.messages.commands import Cancel, Pause, Resume, StopAndKeep
from surgeon_engine.api.messages.events import Envelope, Event, Level, Logged
from surgeon_engine.api.messages.run import (
    MemorySampled,
    Paused,
    Progressed,
    Resumed,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder

_SECONDS_BETWEEN_PROGRESS = 0.1  # more often nobody can read it
_SECONDS_BETWEEN_SAMPLES = 1.0  # of memory


class RunCancelled(Exception):
    """Unwinds a run once the user has cancelled it."""


class RunContext:
    """The line of one run (or request) to the outside.

    The run works in one thread; `handle` may be called from another. The run calls
    `check` wherever it may be ended or made to wait: between batches, layers, files.
    """

    def __init__(self, run: str, send: Callable[[Envelope], object]) -> None:
        self.log: RunFolder | None = None  # where events are kept, once it exists
        self.seconds_of_stages: dict[str, float] = defaultdict(float)
        self._run = run
        self._send = send
        self._heard = threading.Condition()
        self._is_cancelled = False
        self._is_stopping = False
        self._is_to_pause = False
        self._goes_on = False  # after a pause, though another may be wanted by now
        self._paused_seconds = 0.0
        self._started = self.clock()
        self._sample: Callable[[], MemorySampled] | None = None
        self._sampled = -_SECONDS_BETWEEN_SAMPLES

    def begin(self, log: RunFolder, sample: Callable[[], MemorySampled]) -> None:
        """The work of a run begins: keep what it tells in `log`, watch its memory."""
        self.log, self._sample = log, sample
        self._started = self.clock()
        self._sampled = self._started - _SECONDS_BETWEEN_SAMPLES

    def clock(self) -> float:
        """Seconds on a clock that stands still while the run is paused."""
        return time.monotonic() - self._paused_seconds

    @property
    def seconds(self) -> float:
        """How long the run has worked."""
        return self.clock() - self._started

    def emit(self, event: Event) -> None:
        """Keep `event` in the run's folder, and send it.

        In this order: whoever hears of it may look into the folder at once.
        """
        envelope = Envelope(self._run, time.time(), event)
        if self.log is not None:
            self._keep(envelope, self.log)
        self._send(envelope)

    def handle(self, command: Cancel | StopAndKeep | Pause | Resume) -> None:
        """Remember what was asked for; the run looks at it as it goes."""
        with self._heard:
            match command:
                case Cancel():
                    self._is_cancelled = True
                case StopAndKeep():  # whoever waits for the end does not want a pause
                    self._is_stopping = True
                    self._is_to_pause, self._goes_on = False, True
                case Pause():
                    self._is_to_pause = True
                case Resume():
                    self._is_to_pause, self._goes_on = False, True
            self._heard.notify_all()

    @property
    def stops_after_shot(self) -> bool:
        """Whether the shot, or the token, under way is to be the last."""
        return self._is_stopping

    def check(self) -> None:
        """Return at once, or after a pause, or unwind the run.

        Raises:
            RunCancelled: the user has cancelled.
        """
        if self._begins_to_wait():
            self._wait()
        if self._is_cancelled:
            raise RunCancelled
        self._watch_memory()

    @contextmanager
    def stage(
        self, stage: Stage, shot: int = 0, total: int = 1
    ) -> Iterator[Callable[[], None]]:
        """Announce and time a stage of `total` steps; gives what to call after each."""
        self.check()
        self.emit(StageStarted(stage, shot))
        begun = last = self.clock()
        done = 0

        def step() -> None:
            nonlocal done, last
            self.check()
            done += 1
            if done == total or self.clock() - last > _SECONDS_BETWEEN_PROGRESS:
                last = self.clock()
                self.emit(Progressed(stage, shot, done, total))

        yield step
        self.seconds_of_stages[stage.value] += self.clock() - begun

    def _begins_to_wait(self) -> bool:
        with self._heard:
            if not self._is_to_pause or self._is_cancelled:
                return False
            self._goes_on = False
            return True

    def _keep(self, envelope: Envelope, log: RunFolder) -> None:
        try:
            log.append(envelope)
        except OSError as error:
            # The run itself need not end for that, but nobody may think it is kept.
            self.log = None
            words = f"{log.events_path} cannot be written any more: {error.strerror}."
            self.emit(Logged(Level.WARNING, words))

    def _wait(self) -> None:
        """Stay here until the run is to go on or to end."""
        begun = time.monotonic()
        self.emit(Paused())
        with self._heard:
            self._heard.wait_for(lambda: self._goes_on or self._is_cancelled)
        self._paused_seconds += time.monotonic() - begun
        if not self._is_cancelled:
            self.emit(Resumed())

    def _watch_memory(self) -> None:
        """Tell how much memory is in use, at most once a second."""
        if self._sample is None:
            return
        if self.clock() - self._sampled >= _SECONDS_BETWEEN_SAMPLES:
            self._sampled = self.clock()
            self.emit(self._sample())
