"""Events of the fake engine for the live charts, and its pauses."""

import math
import threading
import time
from collections.abc import Callable

from surgeon_engine.api.messages.commands import (
    Cancel,
    Command,
    Pause,
    Resume,
    StopAndKeep,
)
from surgeon_engine.api.messages.events import Event, Level, Logged
from surgeon_engine.api.messages.run import (
    CostHistogram,
    MemorySampled,
    Paused,
    Progressed,
    Resumed,
    Stage,
)

BINS = 60
EVENTS_PER_CYCLE = 10  # a flood repeats a cycle of ten events
SAMPLES_PER_CYCLE = 3  # samples of memory among them


class Gate:
    """Block paused runs."""

    def __init__(self) -> None:
        self._paused: set[str] = set()
        self._changed = threading.Condition()

    def handle(self, command: Command) -> None:
        """Close on Pause, open on any command that resumes or ends the run."""
        with self._changed:
            if isinstance(command, Pause):
                self._paused.add(command.run)
            elif isinstance(command, Resume | StopAndKeep | Cancel):
                self._paused.discard(command.run)
            self._changed.notify_all()

    def open(self) -> None:
        """Let all runs go on, for good."""
        with self._changed:
            self._paused.clear()
            self._changed.notify_all()

    def pass_through(self, run: str, emit: Callable[[Event], None]) -> None:
        """Wait while the run is paused."""
        if run not in self._paused:
            return
        emit(Paused())
        with self._changed:
            self._changed.wait_for(lambda: run not in self._paused)
        emit(Resumed())


def costs(shot: int, threshold: float, removed_weights: int) -> CostHistogram:
    """Return costs around the threshold; nearly all below it are removed."""
    center = math.log10(threshold)
    edges = tuple(10 ** (center - 2 + 5 * i / BINS) for i in range(BINS + 1))
    heights = [math.exp(-(((i - 26 - 2 * shot) / 11) ** 2)) for i in range(BINS)]
    below = [edge < threshold for edge in edges[1:]]
    scale = removed_weights / max(
        1e-9, sum(h for h, is_below in zip(heights, below, strict=True) if is_below)
    )
    weights = [round(scale * height) for height in heights]
    removed = tuple(w if b else 0 for w, b in zip(weights, below, strict=True))
    kept = tuple(0 if b else w for w, b in zip(weights, below, strict=True))
    return CostHistogram(
        edges,
        tuple(-(-w // 1000) for w in removed),
        tuple(-(-w // 1000) for w in kept),
        removed,
        kept,
    )


def memory(number: int) -> MemorySampled:
    """Return sample `number` of a memory usage that goes up and down."""
    wave = math.sin(number / 7) * math.cos(number / 29)
    return MemorySampled(
        int(6e8 + 1.5e8 * wave), int(2.1e9 + 9e8 * wave), 8_000_000_000
    )


def flood(emit: Callable[[Event], None], seconds: float, rate: int, shot: int) -> int:
    """Send `rate` events per second; return the number of samples of memory."""
    start, sent, samples = time.monotonic(), 0, 0
    total = int(seconds * rate)
    while sent < total:
        due = min(total, int((time.monotonic() - start) * rate))
        for number in range(sent, due):
            kind = number % EVENTS_PER_CYCLE
            if kind < SAMPLES_PER_CYCLE:
                emit(memory(samples))
                samples += 1
            elif kind == SAMPLES_PER_CYCLE:
                emit(Logged(Level.INFO, f"Line {number} of a flood."))
            else:
                emit(Progressed(Stage.CURVATURE, shot, number, total))
        sent = due
        time.sleep(0.002)
    return samples
