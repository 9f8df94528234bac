"""How likely a model finds texts: given answers, and continuations to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.model.head import head_logits, last_hidden

_CHOICES = 4
_CONTEXT, _CONTINUATION = 48, 16  # tokens
_AT_ONCE = 2  # items


@dataclass(frozen=True, slots=True, eq=False)
class Continuations:
    """Contexts of a text, each with its continuation and those of other places."""

    rows: Tensor  # items x choices x tokens; the true one is the first

    def __len__(self) -> int:
        return len(self.rows)

    def chosen(self, model: PreTrainedModel, step: Callable[[], None]) -> list[int]:
        """Return the choice that a model finds likeliest, for each item."""
        found: list[int] = []
        for start in range(0, len(self), _AT_ONCE):
            items = self.rows[start : start + _AT_ONCE]
            losses = _losses_after(model, items.flatten(0, 1), _CONTEXT)
            found += losses.view(len(items), _CHOICES).argmin(dim=1).tolist()
            for _ in items:
                step()
        return found


def continuations_of(windows: Tensor, count: int) -> Continuations:
    """Cut windows of a text into contexts and continuations; perhaps into none.

    Args:
        windows: windows x length.
        count: items, at most.
    """
    size = _CONTEXT + _CONTINUATION
    cut = windows[:, : windows.shape[1] // size * size].reshape(-1, size)[:count]
    if len(cut) < _CHOICES:
        return Continuations(cut.new_zeros((0, _CHOICES, size)))
    context, endings = cut[:, :_CONTEXT], cut[:, _CONTEXT:]
    shifts = range(0, -_CHOICES, -1)  # those of the next places
    rows = [torch.cat([context, endings.roll(x, dims=0)], dim=1) for x in shifts]
    return Continuations(torch.stack(rows, dim=1))


def loss_of_answer(
    model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]
) -> float:
    """Return -log of the probability of an answer, in nats; 0 for an empty one."""
    if not answer:
        return 0.0
    tokens = torch.tensor([[*prompt, *answer]])
    return float(_losses_after(model, tokens, len(prompt)))


@torch.no_grad()
def _losses_after(model: PreTrainedModel, rows: Tensor, given: int) -> Tensor:
    """Return -log of the probability of what follows the given tokens of each row.

    Only these tokens need logits, which take as long as the blocks of a small model.
    """
    rows = rows.to(model.device)
    logits = head_logits(model, last_hidden(model, rows)[:, given - 1 : -1])
    # Tokens in rows: along another dimension torch adds up less accurately.
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(), rows[:, given:].flatten(), reduction="none"
    )
    return losses.view(len(rows), -1).cpu().double().sum(dim=1)
