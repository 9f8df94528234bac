"""What a model expects at each token of a text that it did not choose itself.

Reads on stretch by stretch, with all before it in the cache, so that the logits of a
long text over a large vocabulary are never in memory at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.api.errors import EvaluationError
from surgeon_engine.measurement.benchmark_process import last_logits_alone, with_cache

_LOGITS = "logits"  # the one tensor in the file by which two models are compared


class Reading:
    """One model on the way through one text."""

    @torch.no_grad()
    def __init__(self, model: PreTrainedModel, before: Sequence[int]) -> None:
        self._model = model
        self._cache = with_cache(model)
        self._last = self._logits(before, alone=True)[-1:]

    @torch.no_grad()
    def expected(self, tokens: Sequence[int]) -> Tensor:
        """The logits with which each of the next `tokens` was expected.

        tokens x vocabulary, in float32, on the processor.
        """
        logits = self._logits(tokens)
        expected = torch.cat([self._last, logits[:-1]])
        self._last = logits[-1:]
        return expected

    def _logits(self, tokens: Sequence[int], *, alone: bool = False) -> Tensor:
        given = torch.tensor([list(tokens)], device=self._model.device)
        few = last_logits_alone(self._model) if alone else {}
        logits = self._model(given, use_cache=True, **self._cache, **few).logits
        return check_not_nan(logits[0].float().cpu())


def check_not_nan(logits: Tensor) -> Tensor:
    """The same logits.

    Raises:
        EvaluationError: some are no numbers.
    """
    if logits.isnan().any():
        raise EvaluationError(
            "What the model expects is no number.",
            "The model may be damaged, or its number format too narrow: try dtype "
            "float32.",
        )
    return logits


def write_logits(path: Path, logits: Tensor) -> None:
    """Put logits where another process finds them."""
    save_file({_LOGITS: logits.contiguous()}, path)


def read_logits(path: Path) -> Tensor:
    """What `write_logits` has put there."""
    return load_file(path)[_LOGITS]
