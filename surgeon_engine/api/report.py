"""The report of a complete run."""

from __future__ import annotations

from typing import Annotated

import msgspec

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import (
    Count,
    Evaluation,
    Exported,
    Fidelity,
    Recovered,
    Seconds,
    ShotFinished,
    TokensRemoved,
)
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.verdict import (
    Basis,
    Verdict,
    basis_of,
    file_fidelity,
    verdict_of,
)
from surgeon_engine.base.reading import Content
from surgeon_engine.base.sentences import Text


class Report(msgspec.Struct, frozen=True):
    """The recipe and the figures of a complete run, stored in `report.json`."""

    config: RunConfig
    model: ModelSummary
    versions: dict[str, str]
    device: Text
    baseline: Evaluation
    shots: Annotated[tuple[ShotFinished, ...], msgspec.Meta(min_length=1)]
    exported: Exported | None  # None: the export failed, but the checkpoint exists
    # The folder of the checkpoint from which other formats are made; empty: they are
    # made from the original, because nothing was removed.
    checkpoint: str
    stopped_early: bool
    seconds: Seconds
    seconds_of_stages: dict[str, Seconds]
    peak_memory_bytes: Count  # peak of the engine's process; on a GPU: peak of the run
    recovered: Recovered | None = None  # None: not requested, left out or undone
    probe: Content | None = None  # file of the probe; None: it could not be written
    tokens: TokensRemoved | None = None  # None: the vocabulary is whole

    def __post_init__(self) -> None:
        """Check that the result has an evaluation; a damaged file may lack it."""
        if self.recovered is None and self.shots[-1].evaluation is None:
            raise ValueError("the result was not evaluated")

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation of the pruned model in memory, at the end of the run."""
        found = (self.recovered or self.shots[-1]).evaluation
        assert found is not None  # see above
        return found

    @property
    def fidelity(self) -> tuple[Fidelity, ...]:
        """The fidelity of the file that was written, on each text."""
        return file_fidelity(self.exported, self.evaluation)

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on that file; None: its fidelity was not measured."""
        return verdict_of(self.fidelity, self.baseline.fidelity)

    @property
    def basis(self) -> Basis:
        """The source of the verdict's figures."""
        return basis_of(self.exported)
