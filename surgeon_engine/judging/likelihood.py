"""The likelihood of texts under a model: answers, and continuations to choose from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.model.forwards import Forwards
from surgeon_engine.model.head import head_logits
from surgeon_engine.model.vocabulary.recoding import Recoding

_CHOICES = 4
_CONTEXT, _CONTINUATION = 48, 16  # tokens
_AT_ONCE = 2  # items


@dataclass(frozen=True, slots=True, eq=False)
class Continuations:
    """Contexts of a text, each with its continuation and some from other places."""

    rows: Tensor  # items x choices x tokens; the true one is the first
    is_scored: Tensor  # likewise: tokens of a continuation, after its context

    def __len__(self) -> int:
        return len(self.rows)

    def chosen(self, model: PreTrainedModel, step: Callable[[], None]) -> list[int]:
        """Return the choice that a model finds likeliest, for each item."""
        parts = [slice(n, n + _AT_ONCE) for n in range(0, len(self), _AT_ONCE)]
        batches = [
            (self.rows[part].flatten(0, 1), self.is_scored[part].flatten(0, 1))
            for part in parts
        ]
        found: list[int] = []
        for losses in _losses_of(model, batches, step, steps=len(self)):
            found += losses.view(-1, _CHOICES).argmin(dim=1).tolist()
        return found

    def recoded(self, recoding: Recoding) -> Continuations:
        """Return the same texts in the tokens of a smaller vocabulary."""
        tokens = self.rows.flatten(0, 1).numpy()
        contexts = [x for x, _ in recoding.rows(tokens[:, :_CONTEXT])]
        endings = [x for x, _ in recoding.rows(tokens[:, _CONTEXT:])]
        pairs = list(zip(contexts, endings, strict=True))
        longest = max((len(x) + len(y) for x, y in pairs), default=0)
        rows = np.zeros((len(pairs), longest), np.int64)  # padding is not read
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
    shifts = range(0, -_CHOICES, -1)  # the true ones, then the next places
    rows = [torch.cat([context, endings.roll(x, dims=0)], dim=1) for x in shifts]
    return _after_context(torch.stack(rows, dim=1))


def _after_context(rows: Tensor) -> Continuations:
    is_scored = torch.zeros_like(rows, dtype=torch.bool)
    is_scored[..., _CONTEXT:] = True
    return Continuations(rows, is_scored)


def losses_of_answers(
    model: PreTrainedModel, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]
) -> list[float]:
    """Return -log of the probability of each answer, in nats; 0 for an empty one.

    Args:
        model: the model.
        pairs: the tokens of a prompt, and the tokens of its answer.
    """
    pairs = [((*prompt,), (*answer,)) for prompt, answer in pairs]
    unique = [*dict.fromkeys(pair for pair in pairs if pair[1])]
    batches = []
    for prompt, answer in unique:
        tokens = torch.tensor([[*prompt, *answer]])
        batches.append((tokens, torch.arange(tokens.shape[1])[None] >= len(prompt)))
    losses = dict(zip(unique, _losses_of(model, batches), strict=True))
    return [float(losses.get(pair, 0.0)) for pair in pairs]


@torch.no_grad()
def _losses_of(
    model: PreTrainedModel,
    batches: Sequence[tuple[Tensor, Tensor]],
    step: Callable[[], None] = lambda: None,
    steps: int | None = None,
) -> Iterator[Tensor]:
    """Yield -log of the probability of the scored tokens of each row, by batch.

    Tokens before the first scored one need no logits, which take as long as the blocks
    of a small model.

    Args:
        model: the model.
        batches: rows of tokens, and which of these are scored.
        step: called evenly.
        steps: how often; None: as often as there are batches.
    """
    forwards = Forwards(model, (rows for rows, _ in batches), step, steps=steps)
    for (rows, is_scored), hidden in zip(batches, forwards, strict=True):
        given = int(is_scored.any(dim=0).nonzero()[0])
        logits = head_logits(model, hidden[:, given - 1 : -1])
        labels = rows[:, given:].to(model.device)
        # Tokens in rows: along another dimension torch adds up less accurately.
        losses = functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), reduction="none"
        )
        found = losses.view(len(rows), -1).cpu().double()
        yield found.masked_fill(~is_scored[:, given:], 0.0).sum(dim=1)
