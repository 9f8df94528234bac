"""Compute the logits of a given text chunk by chunk.

Earlier tokens are kept in the cache, so that the logits of a long text over a large
vocabulary are never in memory at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.model.decoding import last_logits_alone, with_cache
from surgeon_engine.model.layers import language_model_of


class PromptScorer:
    """Predicts the tokens of one given text with one model."""

    @torch.no_grad()
    def __init__(self, model: PreTrainedModel, before: Sequence[int]) -> None:
        self._model = language_model_of(model)
        self._cache = with_cache(self._model)
        self._last = self._logits(before, last_only=True)[-1:]

    @torch.no_grad()
    def score(self, tokens: Sequence[int]) -> Tensor:
        """Return the logits that predict each of the next tokens.

        Returns:
            tokens x vocabulary, float32, on the CPU.
        """
        logits = self._logits(tokens)
        predictions = torch.cat([self._last, logits[:-1]])
        self._last = logits[-1:]
        return predictions

    def _logits(self, tokens: Sequence[int], *, last_only: bool = False) -> Tensor:
        ids = torch.tensor([list(tokens)], device=self._model.device)
        options = last_logits_alone(self._model) if last_only else {}
        logits = self._model(ids, use_cache=True, **self._cache, **options).logits
        return check_not_nan(logits[0].float().cpu())


def check_not_nan(logits: Tensor) -> Tensor:
    """Return the logits unchanged.

    Raises:
        EvaluationError: Some logits are NaN.
    """
    if logits.isnan().any():
        raise EvaluationError(
            "The logits of the model are not numbers (NaN).",
            "The model may be damaged, or its number format too narrow: try dtype "
            "float32.",
        )
    return logits
