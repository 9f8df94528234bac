"""Measurements in a file, one line of JSON for each.

Tables are made from these lines. A run with a line for each column is not repeated.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from surgeon_engine.api.messages.run import DampingChoice, Fidelity
from surgeon_engine.base.errors import ConfigError

from .texts import ReadyRun


class Circumstances(msgspec.Struct, frozen=True):
    """Descriptions of the machine, the versions and the texts of a measurement."""

    machine: str
    versions: str
    engine: str  # digest of the engine's source files
    calibration: str
    validation: str


class Figures(msgspec.Struct, frozen=True):
    """Quality and cost of pruning to one sparsity.

    Results of earlier versions lack the last fields.
    """

    reached: float  # sparsity, at most the requested one
    parameters: int  # remaining in the whole model
    dense_perplexity: float
    perplexity: float
    nats: float  # KL(original || pruned) per token
    agreement: float  # share of tokens for which both models have the same top token
    shot_seconds: float  # duration of the shot that ended here
    seconds: float  # from the first curvature to the end of recovery
    peak_memory_bytes: int
    damping: DampingChoice | None  # in that shot; None: the method has none
    sampling_seconds: float = 0.0  # for the text that the model itself writes
    # On the validation text and each text of another kind: of the original, and of the
    # pruned model.
    dense: tuple[Fidelity, ...] = ()
    fidelity: tuple[Fidelity, ...] = ()
    before_recovery: tuple[Fidelity, ...] = ()  # empty: the job has none


class Line(msgspec.Struct, frozen=True):
    """A measurement, or its failure."""

    job: str
    seed: int
    sparsity: float  # the requested one: the column
    identity: str  # digest of the model, tokens and settings of the run
    at: str  # date and time
    circumstances: Circumstances
    figures: Figures | None
    failure: str = ""


Key = tuple[str, int, float]  # job, seed, sparsity


class Results:
    """The lines of a file; it is created on the first `append`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damaged: list[int] = []  # numbers of lines that cannot be read
        self._lines: list[Line] = []
        self._is_last_line_incomplete = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be used for results: {error.strerror}.",
                "Give --out a path that you may write to.",
            ) from error
        self._is_last_line_incomplete = bool(data) and not data.endswith(b"\n")
        for number, text in enumerate(data.splitlines(), 1):
            try:
                self._lines.append(msgspec.json.decode(text, type=Line))
            except msgspec.MsgspecError:
                self.damaged.append(number)

    def append(self, line: Line) -> None:
        """Append a line atomically."""
        data = msgspec.json.encode(line) + b"\n"
        if self._is_last_line_incomplete:
            data, self._is_last_line_incomplete = b"\n" + data, False
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, data)  # one call, so that it is atomic
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._lines.append(line)

    def newest(self, runs: Sequence[ReadyRun]) -> dict[Key, Line]:
        """Return the newest line of each measured column of `runs`.

        A failure does not replace earlier figures.
        """
        identities = {
            (ready.run.job, ready.run.seed, sparsity): ready.identity
            for ready in runs
            for sparsity in ready.run.sparsities
        }
        found: dict[Key, Line] = {}
        for line in self._lines:
            key = (line.job, line.seed, line.sparsity)
            is_current = identities.get(key) == line.identity
            if is_current and (line.figures or key not in found):
                found[key] = line
        return found

    def is_complete(self, ready: ReadyRun) -> bool:
        """Return whether every column of the run has figures."""
        found = self.newest([ready])
        keys = [(ready.run.job, ready.run.seed, s) for s in ready.run.sparsities]
        return all(key in found and found[key].figures for key in keys)
