"""Bits per byte: the loss on a text, whatever the tokens of a model are.

    bits per byte = nats of the text / (ln 2 x bytes of the text)

Special tokens stand for no bytes, and their nats do not count. Models with different
tokens are compared on the same bytes: from the first to the last byte of a window at
which both have the end of a token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.evaluation.intervals import ratio
from surgeon_engine.model.head import head_logits, logit_parts, with_head


@dataclass(frozen=True, slots=True, eq=False)
class OriginalTokens:
    """The original on the text of a model with fewer tokens, by its own tokens."""

    nats: Tensor  # windows x (length - 1), the loss of each predicted token
    bytes: Tensor  # likewise; 0: the token does not count
    # windows x length: the original's token that ends with each of the model; -1: none
    positions: Tensor


def bits_per_byte(nats: Tensor, lengths: Tensor) -> Estimate | None:
    """Return the bits per byte of windows; None: they have no bytes.

    Args:
        nats: windows x tokens, the loss of each.
        lengths: windows x tokens, the bytes of each; 0: the token does not count.
    """
    counts = lengths.double().sum(dim=1)
    if not float(counts.sum()):
        return None
    found = ratio(nats_of_text(nats, lengths), counts)
    return Estimate(*(x / math.log(2) for x in (found.value, found.low, found.high)))


def nats_of_text(nats: Tensor, lengths: Tensor) -> Tensor:
    """Return the nats of each window, without tokens that have no bytes."""
    return nats.double().masked_fill(lengths == 0, 0.0).sum(dim=1)


def bytes_of(windows: Tensor, lengths: Tensor) -> Tensor:
    """Return the bytes of each predicted token: windows x (length - 1), int64.

    `windows` is windows x length. `lengths` has the bytes of each token, by its number;
    larger numbers have none.
    """
    labels = windows[:, 1:]
    is_known = labels < len(lengths)
    return lengths[labels.clamp(max=len(lengths) - 1)] * is_known


def common_bytes(
    original: Tensor, model: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the bytes of the tokens between the first and the last common end.

    Args:
        original: windows x (length - 1), bytes of the original's predicted tokens.
        model: likewise, for the model's tokens.
        positions: as in `OriginalTokens`.
    """
    ours, theirs = torch.zeros_like(original), torch.zeros_like(model)
    for row, at in enumerate(positions):
        ends = (at >= 0).nonzero().squeeze(1)
        if len(ends):
            first, last = int(ends[0]), int(ends[-1])
            theirs[row, first:last] = model[row, first:last]
            of_original = slice(int(at[first]), int(at[last]))
            ours[row, of_original] = original[row, of_original]
    return ours, theirs


@torch.no_grad()
def losses_by_head(
    model: PreTrainedModel,
    batches: Iterable[tuple[Tensor, Tensor]],
    weight: Tensor,
    bias: Tensor | None,
) -> list[Tensor]:
    """Return the loss of each predicted token of each batch, on the host.

    Args:
        model: turns hidden states into logits.
        batches: the tokens, windows x length, and their last hidden states.
        weight: weight of the head that takes the place of the model's own.
        bias: bias of that head; None: the model keeps its own.
    """
    found = []
    for tokens, hidden in batches:
        labels = tokens[:, 1:].to(weight.device)
        parts = []
        for part in logit_parts(model, labels, head=weight):
            given = hidden[:, :-1][:, part].to(weight.device)
            with with_head(model, weight, bias):
                logits = head_logits(model, given).float()
            losses = functional.cross_entropy(
                logits.flatten(0, 1), labels[:, part].flatten(), reduction="none"
            )
            parts.append(losses.view(len(tokens), -1))
        found.append(torch.cat(parts, dim=1).cpu())
    return found
