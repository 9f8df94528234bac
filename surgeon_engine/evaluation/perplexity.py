"""Measure the mean next-token loss on windows of text, and its exponential.

Each window is scored by itself, without context from the one before: its first token is
given, the others are predicted.
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

_MAX_LOSS = 700.0  # nats: exp of more overflows float64


def evaluate(
    model: PreTrainedModel,
    windows: Tensor,
    batch: int,
    text: str,
    step: Callable[[], None],
) -> Evaluation:
    """Measure the loss and the perplexity of a model.

    Args:
        model: the model.
        windows: token ids, windows x length.
        batch: the number of windows at a time.
        text: the name of the text, for the result.
        step: called after each batch.

    Raises:
        EvaluationError: the loss is not finite, or its exponential is not.
    """
    losses = token_losses(model, windows, batch, step)
    loss = losses.mean().item()
    if not loss < _MAX_LOSS:  # false for NaN, too
        message = f"The loss on the validation text is {loss}."
        broken = windows[~losses.isfinite().all(dim=1)][:1]
        if len(broken):
            message = with_origin(message, model, broken)
        raise EvaluationError(message, hint_for(model))
    count, length = windows.shape
    return Evaluation(loss, math.exp(loss), count, length, text)


@torch.no_grad()
def token_losses(
    model: PreTrainedModel, windows: Tensor, batch: int, step: Callable[[], None]
) -> Tensor:
    """Return the loss of each predicted token in nats: windows x (length - 1)."""
    losses = []
    for tokens in windows.split(batch):
        tokens = tokens.to(model.device)
        logits = model(tokens, use_cache=False).logits
        # Tokens in rows: along another dimension torch adds up less accurately.
        of_batch = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            tokens[:, 1:].flatten(),
            reduction="none",
        )
        losses.append(of_batch.view(len(tokens), -1).double().cpu())
        step()
    return torch.cat(losses)
