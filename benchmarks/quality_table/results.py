"""The results: one line of JSON for each measurement, appended as it is made.

Tables are made from these lines, and a run whose lines are all there is not run again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.messages.run import DampingChoice

from .texts import ReadyRun


class Circumstances(msgspec.Struct, frozen=True):
    """The machine, versions and texts of a measurement, in words."""

    machine: str
    versions: str
    engine: str  # digest of the engine's source files
    calibration: str
    validation: str


class Figures(msgspec.Struct, frozen=True):
    """The figures of pruning to a sparsity."""

    reached: float  # sparsity, at most what was asked for
    parameters: int  # that remain in the whole model
    dense_perplexity: float
    perplexity: float
    nats: float  # KL(dense || pruned) per token
    agreement: float  # share of tokens for which both put the same one first
    shot_seconds: float  # of the shot that ended here
    seconds: float  # from the dense model on
    peak_memory_bytes: int
    damping: DampingChoice | None  # of that shot; None: the method damps nothing
    steps: tuple[float, ...] | None  # of the correction; None: there was none
    uncorrected: float | None = None  # perplexity before it


class Line(msgspec.Struct, frozen=True):
    """A measurement or a failure."""

    job: str
    seed: int
    sparsity: float  # that was asked for: the column
    identity: str  # of the run: model, tokens and settings
    at: str  # date and time
    circumstances: Circumstances
    figures: Figures | None
    failure: str = ""


Key = tuple[str, int, float]  # job, seed, sparsity


class Results:
    """The lines in the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damaged: list[int] = []  # numbers of lines that cannot be read
        self._lines: list[Line] = []
        self._ends_in_the_middle = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be used for results: {error.strerror}.",
                "Give --out a place that you may write to.",
            ) from error
        self._ends_in_the_middle = bool(data) and not data.endswith(b"\n")
        for number, text in enumerate(data.splitlines(), 1):
            try:
                self._lines.append(msgspec.json.decode(text, type=Line))
            except msgspec.MsgspecError:
                self.damaged.append(number)

    def append(self, line: Line) -> None:
        """Append a line atomically."""
        data = msgspec.json.encode(line) + b"\n"
        if self._ends_in_the_middle:
            data, self._ends_in_the_middle = b"\n" + data, False
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, data)  # one call: nothing comes in between
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._lines.append(line)

    def of(self, runs: Sequence[ReadyRun]) -> dict[Key, Line]:
        """Return the newest line of each column of `runs`, if there is one.

        A later failure does not replace figures.
        """
        wanted = {
            (ready.run.job, ready.run.seed, sparsity): ready.identity
            for ready in runs
            for sparsity in ready.run.sparsities
        }
        found: dict[Key, Line] = {}
        for line in self._lines:
            key = (line.job, line.seed, line.sparsity)
            is_wanted = wanted.get(key) == line.identity
            if is_wanted and (line.figures or key not in found):
                found[key] = line
        return found

    def are_complete(self, ready: ReadyRun) -> bool:
        """Return True if every column of the run has figures."""
        found = self.of([ready])
        keys = [(ready.run.job, ready.run.seed, s) for s in ready.run.sparsities]
        return all(key in found and found[key].figures for key in keys)
