"""The interface of the exporters: one class for each file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from torch import Tensor

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.base.sentences import Text
from surgeon_engine.compaction.plan import PrunedModel

Check = Callable[[], None]  # called repeatedly during long work; may raise to end it


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The text on which quantized formats measure the inputs of the layers."""

    windows: Tensor  # windows x length, token ids
    batch: int  # windows at a time
    text: str  # name or path
    check: Check = lambda: None  # between batches
    step: Check = lambda: None  # after each block


class VerificationResult(msgspec.Struct, frozen=True):
    """Comparison of an exported model, loaded by a fresh process, with the original."""

    tokens: int  # number of tokens compared; 0: no program here can run the model
    largest_difference: float | None  # between logits; None: not finite
    largest_logit: float
    agreement: float  # share of tokens with the same top token
    perplexity: float | None  # None: no windows, or not finite
    checked_with: Text  # name and version of the program
    windows: int = 0  # number of windows for the perplexity
    # KL(original || file) on the tokens, in nats; None: unknown or not finite
    divergence: float | None = None
    # KL(model in memory || file) on the tokens, in nats; likewise.
    saving_divergence: float | None = None


class Writer(Protocol):
    """Writes and verifies a pruned model in one file format."""

    def unsupported_reason(self, pruned: PrunedModel) -> str:
        """Return why the model cannot be written in this format; empty if it can."""

    def notes(self, pruned: PrunedModel, dtype: FileDtype) -> tuple[str, ...]:
        """Return notes on the files for readers of the log."""
        return ()

    def forecast(self, pruned: PrunedModel, dtype: FileDtype) -> int:
        """Return the expected size in bytes of the files that hold weights."""

    def on_text(self, calibration: Calibration | None) -> Writer:
        """Return the writer for a text on which formats that quantize measure."""
        return self

    def write(self, pruned: PrunedModel, config: ExportConfig, folder: Path) -> None:
        """Write the model into the empty `folder`.

        The model computes the same afterwards.

        Raises:
            ExportError: A weight is too large for the number format, or it needs a
                library that is not installed.
        """

    def verify(self, folder: Path, probe: Path, check: Check) -> VerificationResult:
        """Load the model in a fresh process and compare its logits with the probe's.

        Raises:
            ExportError: The model does not load.
        """
