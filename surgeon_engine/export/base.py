"""What a form of file is to the export: one class for each, all with this interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.compaction.plan import PrunedModel

Check = Callable[[], None]  # called now and then; what it raises ends the work


class VerificationResult(msgspec.Struct, frozen=True):
    """What a fresh process says of a checkpoint that it has loaded."""

    tokens: int  # whose logits were compared; 0: nothing here could run it
    largest_difference: float | None  # of logits; None: not finite
    largest_logit: float
    agreement: float  # share of tokens whose likeliest next token is the same
    perplexity: float | None  # None: on no windows, or not finite
    checked_with: str  # the program, with its version
    windows: int = 0  # by which perplexity was to be computed


class Writer(Protocol):
    """Writes a pruned model in one form, and checks what it has written."""

    def unsupported_reason(self, pruned: PrunedModel) -> str:
        """Why this model cannot be written like that; empty: it can."""

    def forecast(self, pruned: PrunedModel, dtype: FileDtype) -> int:
        """How many bytes the files that hold weights will take."""

    def write(self, pruned: PrunedModel, wanted: ExportConfig, folder: Path) -> None:
        """Fill the empty `folder`.

        Raises:
            ExportError: a number does not fit into the wanted format.
        """

    def verify(self, folder: Path, probe: Path, check: Check) -> VerificationResult:
        """Load it in a fresh process and compare it with what `probe` holds.

        Raises:
            ExportError: it does not load.
        """
