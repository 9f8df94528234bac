"""The context of a run: it sends events, receives commands and times the stages."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from surgeon_engine.api.messages.commands import Cancel, Pause, Resume, StopAndKeep
from surgeon_engine.api.messages.events import Envelope, Event, Level, Logged
from surgeon_engine.api.messages.run import (
    Estimate,
    MemorySampled,
    Paused,
    Progressed,
    Resumed,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.saved_state import SavedState
from surgeon_engine.base.errors import EngineError, RunCancelled, RunFolderError
from surgeon_engine.base.path_problems import unwritable
from surgeon_engine.base.sentences import said
from surgeon_engine.runtime import devices, host_memory, ranks
from surgeon_engine.runtime.kept import Kept
from surgeon_engine.runtime.saver import Saver, Tensors

_SECONDS_BETWEEN_PROGRESS = 0.1  # faster than anyone can read
_SECONDS_BETWEEN_SAMPLES = 1.0  # memory samples


class RunContext:
    """The connection of one run (or request) with its client.

    The run works in one thread; `handle` may be called from another. The run calls
    `raise_if_cancelled` wherever it can end or pause: between batches, layers, files.
    """

    def __init__(
        self, run: str, send: Callable[[Envelope], object], kept: Kept | None = None
    ) -> None:
        self.log: RunFolder | None = None  # receives the events, once it exists
        self.saver = Saver.off()  # replaced if the run can be resumed
        self.kept = kept or Kept()  # by an earlier command of the process
        self.stop_after = 0  # the shot after which the run stops; 0: none
        self.expected: Estimate | None = None  # KL, as of `StartRun`
        self.planned: Mapping[Stage, float] = {}  # seconds, likewise
        self.seconds_of_stages: dict[str, float] = defaultdict(float)
        self._run = run
        self._unlogged: list[Envelope] = []  # while the log cannot be written
        self._send = send
        self._forward: Callable[[StopAndKeep | Pause | Resume], object] | None = None
        self._changed = threading.Condition()
        self._is_cancelled = False
        self._is_stopping = False
        self._is_pausing = False
        self._is_resumed = False  # even if another pause was requested since
        self._paused_seconds = 0.0
        self._started = self._stage_began = self.clock()
        self._sample: Callable[[], MemorySampled] | None = None
        self._sampled = -_SECONDS_BETWEEN_SAMPLES

    def begin(
        self,
        log: RunFolder,
        sample: Callable[[], MemorySampled],
        saved: SavedState | None = None,
    ) -> None:
        """Start the clock of a run, log its events and sample its memory.

        `saved` is the state of an interrupted run, whose clock goes on.
        """
        self.log, self._sample = log, sample
        self._started = self.clock()
        self._sampled = self._started - _SECONDS_BETWEEN_SAMPLES
        if saved is not None:
            self._started -= saved.seconds
            self.seconds_of_stages.update(saved.seconds_of_stages)

    def clock(self) -> float:
        """Return the seconds on a clock that stops while the run is paused."""
        return time.monotonic() - self._paused_seconds

    @property
    def seconds_of_stage(self) -> float:
        """The seconds that the stage has worked, as the first process counts them.

        Processes that share a run must ask this equally often.
        """
        return ranks.agreed(self.clock() - self._stage_began)

    @property
    def seconds(self) -> float:
        """The seconds that the run has worked, without pauses."""
        return self.clock() - self._started

    def emit(self, event: Event) -> None:
        """Log an event in the run's folder, then send it.

        Its receiver can thus read it in the folder at once. Of several processes that
        share a run, the first alone does so.
        """
        if not ranks.is_first():
            return
        envelope = Envelope(self._run, time.time(), event)
        if self.log is not None:
            self._append(envelope, self.log)
        self._send(envelope)
        if isinstance(event, ShotFinished) and event.shot == self.stop_after:
            self.handle(StopAndKeep(run=self._run))

    def warn(self, template: str, /, **values: object) -> None:
        """Log a warning: a sentence, or a template as for `say`."""
        self.emit(Logged(Level.WARNING, said(template, values)))

    def inform(self, template: str, /, **values: object) -> None:
        """Log what is worth knowing, likewise."""
        self.emit(Logged(Level.INFO, said(template, values)))

    def record(self, log: RunFolder, event: Event) -> None:
        """Add an event to the log of a run that has ended; warn if that fails.

        `event` is a later export, or the measured speed.
        """
        try:
            log.remove_cut_off_line()  # left by a full disk
            log.append(Envelope(self._run, time.time(), event))
        except (OSError, EngineError) as error:
            reason = error.__cause__ if isinstance(error, RunFolderError) else error
            self.warn(unwritable(log.events_path, reason))

    def save(self, parts: Mapping[str, Tensors | None], **changes: object) -> None:
        """Save the state of the run, as `Saver.save`; warn if that is not possible."""
        reason = self.saver.save(
            parts,
            seconds=self.seconds,
            seconds_of_stages=dict(self.seconds_of_stages),
            **changes,
        )
        if reason:
            self.warn(
                "The state of the run cannot be saved: {reason:clause}. The run goes "
                "on, and tries again later.",
                reason=reason,
            )

    def load_progress(self, part: str) -> Tensors | None:
        """Return the saved progress within a stage.

        None, with a warning, if it is damaged: the stage then starts again, with the
        same result.
        """
        try:
            return self.saver.load(part)
        except RunFolderError as error:
            self.warn("{error} This stage starts again.", error=error)
            return None

    def discard_saved(self) -> None:
        """Delete the saved state, as the run is complete; warn if it stays."""
        if reason := self.saver.discard():
            self.warn(
                "The saved progress of the run cannot be deleted: {reason:clause}. The "
                "next start of Surgeon tries again.",
                reason=reason,
            )

    def handle(self, command: Cancel | StopAndKeep | Pause | Resume) -> None:
        """Record a command; the run obeys it at its next check."""
        with self._changed:
            if self._forward is not None and not isinstance(command, Cancel):
                self._forward(command)
                return
            match command:
                case Cancel():
                    self._is_cancelled = True
                case StopAndKeep():  # a paused run has to resume to end
                    self._is_stopping = True
                    self._is_pausing, self._is_resumed = False, True
                case Pause():
                    self._is_pausing = True
                case Resume():
                    self._is_pausing, self._is_resumed = False, True
            self._changed.notify_all()

    def forward(self, send: Callable[[StopAndKeep | Pause | Resume], object]) -> None:
        """Let other processes do the run: send them the commands, but for Cancel.

        A command that has arrived before is sent at once.
        """
        with self._changed:
            if self._is_stopping:
                send(StopAndKeep(run=self._run))
            elif self._is_pausing:
                send(Pause(run=self._run))
            self._forward, self._is_pausing = send, False

    def pass_on(self, envelope: Envelope) -> None:
        """Send an event of another process, which has logged it."""
        self._send(envelope)

    @property
    def stops_after_shot(self) -> bool:
        """Whether the current shot, or token, is the last.

        Processes that share a run must ask this equally often.
        """
        return bool(ranks.agreed(self._is_stopping))

    def raise_if_cancelled(self) -> None:
        """Wait while the run is paused, and raise if it was cancelled.

        Raises:
            RunCancelled: the user has cancelled.
        """
        with self._changed:
            if pauses := self._is_pausing and not self._is_cancelled:
                self._is_resumed = False
        if pauses:
            self._wait()
        if self._is_cancelled:
            raise RunCancelled
        self._sample_memory()

    @contextmanager
    def stage(
        self,
        stage: Stage,
        shot: int = 0,
        total: int = 1,
        *,
        is_kept: bool = False,
        seconds: float = 0.0,
    ) -> Iterator[Callable[[], None]]:
        """Announce and time a stage of `total` steps; yield a call for each step.

        `is_kept` tells that an earlier run has left its result. An interrupted process
        has worked so many `seconds` on the stage.
        """
        self.raise_if_cancelled()
        # Stages need blocks of other sizes.
        host_memory.return_freed()
        devices.return_pinned_memory()
        self.emit(StageStarted(stage, shot, is_kept, seconds))
        last, done = self.clock(), 0
        self._stage_began = start_time = last - seconds

        def step() -> None:
            nonlocal done, last
            self.raise_if_cancelled()
            done += 1  # more than the total, if work is done again
            if done == total or self.clock() - last > _SECONDS_BETWEEN_PROGRESS:
                last = self.clock()
                self.emit(Progressed(stage, shot, done, total))

        yield step
        self.seconds_of_stages[stage.value] += self.clock() - start_time

    def _append(self, envelope: Envelope, log: RunFolder) -> None:
        """Log an event; if that fails, with the next one that is no progress."""
        is_late = bool(self._unlogged)
        if is_late and isinstance(envelope.event, Progressed | MemorySampled):
            return
        self._unlogged.append(envelope)
        try:
            if is_late:
                log.remove_cut_off_line()
            while self._unlogged:
                log.append(self._unlogged[0])
                del self._unlogged[0]
        except (OSError, EngineError) as error:
            if not is_late:  # the run goes on, but the user must know
                reason = getattr(error, "strerror", error)
                self.warn(
                    "{path} cannot be written any more: {reason:clause}.",
                    path=log.events_path,
                    reason=reason,
                )

    def _wait(self) -> None:
        """Wait until the run is resumed or cancelled."""
        start_time = time.monotonic()
        self.emit(Paused())
        with self._changed:
            self._changed.wait_for(lambda: self._is_resumed or self._is_cancelled)
        self._paused_seconds += time.monotonic() - start_time
        if not self._is_cancelled:
            self.emit(Resumed())

    def _sample_memory(self) -> None:
        """Report the memory in use, at most once a second."""
        if self._sample is None:
            return
        if self.clock() - self._sampled >= _SECONDS_BETWEEN_SAMPLES:
            self._sampled = self.clock()
            self.emit(self._sample())
