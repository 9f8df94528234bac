"""How likely a model finds texts: given answers, and continuations to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.model.head import head_logits, last_hidden
from surgeon_engine.model.vocabulary.recoding import Recoding

_CHOICES = 4
_CONTEXT, _CONTINUATION = 48, 16  # tokens
_AT_ONCE = 2  # items


@dataclass(frozen=True, slots=True, eq=False)
class Continuations:
    """Contexts of a text, each with its continuation and those of other places."""

    rows: Tensor  # items x choices x tokens; the true one is the first
    is_scored: Tensor  # likewise: tokens of a continuation, after its context

    def __len__(self) -> int:
        return len(self.rows)

    def chosen(self, model: PreTrainedModel, step: Callable[[], None]) -> list[int]:
        """Return the choice that a model finds likeliest, for each item."""
        found: list[int] = []
        for start in range(0, len(self), _AT_ONCE):
            items = self.rows[start : start + _AT_ONCE]
            is_scored = self.is_scored[start : start + _AT_ONCE].flatten(0, 1)
            losses = _losses_of(model, items.flatten(0, 1), is_scored)
            found += losses.view(len(items), _CHOICES).argmin(dim=1).tolist()
            for _ in items:
                step()
        return found

    def recoded(self, recoding: Recoding) -> Continuations:
        """Return the same texts in the tokens of a smaller vocabulary."""
        tokens = self.rows.flatten(0, 1).numpy()
        contexts = [x for x, _ in recoding.rows(tokens[:, :_CONTEXT])]
        endings = [x for x, _ in recoding.rows(tokens[:, _CONTEXT:])]
        pairs = list(zip(contexts, endings, strict=True))
        longest = max((len(x) + len(y) for x, y in pairs), default=0)
        rows = np.zeros((len(pairs), longest), np.int64)  # what follows is not read
        is_scored = np.zeros(rows.shape, bool)
        for number, (context, ending) in enumerate(pairs):
            size = len(context) + len(ending)
            rows[number, :size] = np.concatenate([context, ending])
            is_scored[number, len(context) : size] = True
        shape = (len(self), _CHOICES, longest)
        found = torch.from_numpy(rows).view(shape)
        return Continuations(found, torch.from_numpy(is_scored).view(shape))


def continuations_of(windows: Tensor, count: int) -> Continuations:
    """Cut windows of a text into contexts and continuations; perhaps into none.

    Args:
        windows: windows x length.
        count: items, at most.
    """
    size = _CONTEXT + _CONTINUATION
    cut = windows[:, : windows.shape[1] // size * size].reshape(-1, size)[:count]
    if len(cut) < _CHOICES:
        return _after_context(cut.new_zeros((0, _CHOICES, size)))
    context, endings = cut[:, :_CONTEXT], cut[:, _CONTEXT:]
    shifts = range(0, -_CHOICES, -1)  # those of the next places
    rows = [torch.cat([context, endings.roll(x, dims=0)], dim=1) for x in shifts]
    return _after_context(torch.stack(rows, dim=1))


def _after_context(rows: Tensor) -> Continuations:
    is_scored = torch.zeros_like(rows, dtype=torch.bool)
    is_scored[..., _CONTEXT:] = True
    return Continuations(rows, is_scored)


def loss_of_answer(
    model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]
) -> float:
    """Return -log of the probability of an answer, in nats; 0 for an empty one."""
    if not answer:
        return 0.0
    tokens = torch.tensor([[*prompt, *answer]])
    is_scored = torch.arange(tokens.shape[1])[None] >= len(prompt)
    return float(_losses_of(model, tokens, is_scored))


@torch.no_grad()
def _losses_of(model: PreTrainedModel, rows: Tensor, is_scored: Tensor) -> Tensor:
    """Return -log of the probability of the scored tokens of each row.

    Those before the first need no logits, which take as long as the blocks of a small
    model.
    """
    rows = rows.to(model.device)
    given = int(is_scored.any(dim=0).nonzero()[0])
    logits = head_logits(model, last_hidden(model, rows)[:, given - 1 : -1])
    # Tokens in rows: along another dimension torch adds up less accurately.
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(), rows[:, given:].flatten(), reduction="none"
    )
    found = losses.view(len(rows), -1).cpu().double()
    return found.masked_fill(~is_scored[:, given:], 0.0).sum(dim=1)
