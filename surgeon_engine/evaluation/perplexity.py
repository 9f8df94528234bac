"""Measure the next-token loss of a model on windows of text.

Each window is scored by itself, without context from the one before: its first token is
given, the others are predicted.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.base.sentences import say
from surgeon_engine.model.layers import language_model_of

MAX_LOSS = 700.0  # nats: exp of more overflows float64
DAMAGED = say(
    "The pruned model may be damaged, or its number format too narrow: try dtype "
    "float32."
)


def perplexity(model: PreTrainedModel, windows: Tensor) -> float:
    """Return the perplexity of a model on windows of tokens, one window at a time.

    Raises:
        EvaluationError: it is not finite.
    """
    loss = token_losses(model, windows).mean().item()
    if not loss < MAX_LOSS:  # false for NaN, too
        raise EvaluationError(
            "The loss on the validation text is {loss}.", DAMAGED, loss=loss
        )
    return math.exp(loss)


@torch.no_grad()
def token_losses(model: PreTrainedModel, windows: Tensor) -> Tensor:
    """Return the loss of each predicted token in nats: windows x (length - 1)."""
    losses, whole = [], language_model_of(model)
    for tokens in windows.split(1):
        tokens = tokens.to(model.device)
        logits = whole(tokens, use_cache=False).logits
        # Tokens in rows: along another dimension torch adds up less accurately.
        of_batch = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            tokens[:, 1:].flatten(),
            reduction="none",
        )
        losses.append(of_batch.view(len(tokens), -1).cpu().double())
    return torch.cat(losses)
