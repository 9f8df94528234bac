"""Sample the next token."""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon_engine.api.messages.generation import GenerationSettings


class Sampler:
    """Samples tokens; the same seed gives the same tokens for the same logits.

    Each step draws an exponential e for every token of the vocabulary and selects the
    token with the largest p / e, which happens with probability p. Two models with the
    same seed therefore select the same token where their predictions are similar.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        # On the CPU, so that a seed gives the same noise with and without a GPU.
        self._noise = torch.Generator().manual_seed(settings.seed)

    def draw(self, logits: Tensor) -> int:
        """Sample a token from the logits of the vocabulary."""
        if self._settings.temperature == 0:
            return int(logits.argmax())
        scaled = logits.cpu().double() / self._settings.temperature
        shares = nucleus(scaled.softmax(dim=-1), self._settings.top_p)
        draws = torch.empty_like(shares).exponential_(generator=self._noise)
        return int((shares / draws).argmax())


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Set the probability of tokens outside the nucleus to 0.

    The nucleus is the smallest set of most likely tokens whose probabilities sum to
    `top_p` or more; it always contains the most likely token.
    """
    ordered, order = probabilities.sort(descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.where(before < top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept)
