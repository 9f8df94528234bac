"""The original's predictions in the tokens of a model with a smaller vocabulary.

    V, K    tokens of the original, of the smaller vocabulary

A removed token is written as several kept ones. The model predicts the first of them
where the original predicts the token: its probability is added to the first piece's.
The original can say so where one of its own tokens ends at the same byte; at the
other places, inside of removed tokens, it has no prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Translation:
    """The head of the original, and where each of its tokens goes."""

    weight: Tensor  # V x hidden, the weight of the original's head
    bias: Tensor | None  # V
    kept: Tensor  # K, int64: the original's number of each token
    removed: Tensor  # int64: tokens that are written otherwise
    first: Tensor  # int64: the new number of the first piece of each

    @classmethod
    def of(
        cls, weight: Tensor, bias: Tensor | None, kept: Tensor, first_piece: Tensor
    ) -> Translation:
        """Return the translation by the first piece of each token.

        Args:
            weight: V x hidden.
            bias: V; None: the head has none.
            kept: K, the original's numbers, ascending.
            first_piece: V, new numbers; -1: the token is written by none.
        """
        is_removed = first_piece >= 0
        is_removed[kept] = False
        removed = is_removed.nonzero().squeeze(1)
        place = weight.device
        return cls(
            weight,
            bias,
            kept.to(place),
            removed.to(place),
            first_piece[removed].to(place),
        )

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the kept tokens, from logits of the original.

        Args:
            logits: ... x V, float32; overwritten.

        Returns:
            ... x K, float32.
        """
        torch.softmax(logits, dim=-1, out=logits)
        found = logits.index_select(-1, self.kept)
        found.index_add_(-1, self.first, logits.index_select(-1, self.removed))
        return found.div_(found.sum(dim=-1, keepdim=True))


@torch.no_grad()
def aligned_hidden(hidden: Tensor, positions: Tensor) -> Tensor:
    """Return the original's hidden states at the tokens of a smaller vocabulary.

    Args:
        hidden: windows x length x hidden, by the original's own tokens.
        positions: windows x length, int64: the original's token that ends with each of
            the new ones; -1: none does.

    Returns:
        windows x length x hidden; NaN where the original has no token that ends there.
    """
    place = positions.to(hidden.device)
    index = place.clamp(min=0).unsqueeze(2).expand(-1, -1, hidden.shape[2])
    found = hidden.gather(1, index)
    return found.masked_fill_((place < 0).unsqueeze(2), torch.nan)
