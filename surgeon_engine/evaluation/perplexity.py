"""The mean next-token loss on held-out windows, and its exponential.

Each window is scored by itself, without context from the one before and without added
tokens: its first token is given, the others are predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.api.errors import EvaluationError
from surgeon_engine.api.messages.run import Evaluation
from surgeon_engine.model.not_finite import hint_for, with_origin

_LARGEST_LOSS = 700.0  # nats: exp of more is no float64


def evaluate(
    model: PreTrainedModel,
    windows: Tensor,
    batch: int,
    text: str,
    step: Callable[[], None],
) -> Evaluation:
    """Loss and perplexity on `windows` (windows x length); `step` after each batch.

    Raises:
        EvaluationError: the loss is not finite, or its exponential is not.
    """
    losses = token_losses(model, windows, batch, step)
    loss = losses.mean().item()
    if not loss < _LARGEST_LOSS:  # NaN is not smaller than anything
        words = f"The loss on the validation text is {loss}."
        spoilt = windows[~losses.isfinite().all(dim=1)][:1]
        if len(spoilt):
            words = with_origin(words, model, spoilt)
        raise EvaluationError(words, hint_for(model))
    count, length = windows.shape
    return Evaluation(loss, math.exp(loss), count, length, text)


@torch.no_grad()
def token_losses(
    model: PreTrainedModel, windows: Tensor, batch: int, step: Callable[[], None]
) -> Tensor:
    """The loss of each predicted token, in nats: windows x (length - 1), float64."""
    losses = []
    for tokens in windows.split(batch):
        tokens = tokens.to(model.device)
        logits = model(tokens, use_cache=False).logits
        # Tokens in rows: along another dimension torch adds up less exactly.
        of_batch = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            tokens[:, 1:].flatten(),
            reduction="none",
        )
        losses.append(of_batch.view(len(tokens), -1).double().cpu())
        step()
    return torch.cat(losses)
