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

from surgeon_engine.errors import EvaluationError
from surgeon_engine.events import Evaluation

_LARGEST_LOSS = 700.0  # nats: exp of more is no float64


@torch.no_grad()
def evaluate(
    model: PreTrainedModel,
    windows: Tensor,
    batch: int,
    text: str,
    step: Callable[[], None],
) -> Evaluation:
    """Loss and perplexity on `windows` (windows x length); `step` after each batch.

    Raises:
        EvaluationError: the loss is not finite.
    """
    total = 0.0
    for tokens in windows.split(batch):
        tokens = tokens.to(model.device)
        logits = model(tokens, use_cache=False).logits
        total += functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            tokens[:, 1:].flatten(),
            reduction="sum",
        ).item()
        step()
    count, length = windows.shape
    loss = total / (count * (length - 1))
    if not loss < _LARGEST_LOSS:  # NaN is not smaller than anything
        raise EvaluationError(
            f"The loss on the validation text is {loss}.",
            "The model may be damaged, or its number format too narrow: "
            "try dtype float32.",
        )
    return Evaluation(loss, math.exp(loss), count, length, text)
