"""Which token comes next."""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon_engine.api.messages.generation import GenerationSettings


class Sampler:
    """Draws token after token; the same seed draws the same from the same logits.

    The noise of each step belongs to the tokens of the vocabulary, whatever the model
    expects: a token comes next if it has the largest p / e, of e an exponential draw of
    its own, which happens with probability p. So two models with one seed write the
    same wherever they expect nearly the same.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        # On the processor, so that a seed means the same with a GPU and without.
        self._noise = torch.Generator().manual_seed(settings.seed)

    def draw(self, logits: Tensor) -> int:
        """The next token, of `logits` over the vocabulary."""
        if self._settings.temperature == 0:
            return int(logits.argmax())
        scaled = logits.cpu().double() / self._settings.temperature
        shares = nucleus(scaled.softmax(dim=-1), self._settings.top_p)
        draws = torch.empty_like(shares).exponential_(generator=self._noise)
        return int((shares / draws).argmax())


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """The fewest likeliest tokens that together have `top_p`; 0 for all others.

    The likeliest token always stays.
    """
    ordered, order = probabilities.sort(descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.where(before < top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept)
