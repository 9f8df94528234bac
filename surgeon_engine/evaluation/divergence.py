"""Compare the predictions of a pruned model with those of the dense one.

    p, q   vocabulary   probabilities of the next token by the dense, the pruned model

Measured are KL(p || q) = sum p (log p - log q), in nats, and whether both models rank
the same token first, each as the mean over the tokens that perplexity is measured on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.api.errors import EvaluationError

_TOKENS_AT_ONCE = 256  # whose logits are copied in float64


@dataclass(frozen=True, slots=True)
class Divergence:
    """The divergence of a pruned model from the dense one, per predicted token."""

    nats: float  # KL(dense || pruned)
    agreement: float  # share of the tokens where both rank the same one first


@torch.no_grad()
def divergence(
    dense: PreTrainedModel,
    pruned: PreTrainedModel,
    windows: Tensor,
    batch: int,
    step: Callable[[], None],
) -> Divergence:
    """Measure the divergence of two models on the same windows.

    Args:
        dense: the original model.
        pruned: the pruned one.
        windows: token ids, windows x length.
        batch: the number of windows at a time.
        step: called after each batch.

    Raises:
        EvaluationError: the divergence is not finite.
    """
    nats, agreed = 0.0, 0
    for tokens in windows.split(batch):
        tokens = tokens.to(dense.device)
        expected = dense(tokens, use_cache=False).logits[:, :-1]
        found = pruned(tokens, use_cache=False).logits[:, :-1]
        parts = (x.flatten(0, 1).split(_TOKENS_AT_ONCE) for x in (expected, found))
        for p, q in zip(*parts, strict=True):
            nats += float(divergences(p, q).sum())
            agreed += int((p.argmax(dim=-1) == q.argmax(dim=-1)).sum())
        step()
    count, length = windows.shape
    predicted = count * (length - 1)
    if not math.isfinite(nats):
        raise EvaluationError(
            f"The divergence from the dense model is {nats}.",
            "The pruned model may be damaged, or its number format too narrow: "
            "try dtype float32.",
        )
    return Divergence(nats / predicted, agreed / predicted)


def divergences(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p || q) of two sets of logits, tokens x vocabulary, for each token.

    A token to which p gives no probability adds nothing, for any q.
    """
    log_p = functional.log_softmax(p.double(), dim=-1)
    log_q = functional.log_softmax(q.double(), dim=-1)
    return log_divergences(log_p, log_q).clamp(min=0.0)  # rounding may go below 0


def log_divergences(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) of logarithms of probabilities, over the last dimension.

    A token to which p gives no probability adds nothing, for any q.
    """
    terms = functional.kl_div(log_q, log_p, reduction="none", log_target=True)
    return terms.masked_fill(log_p == -math.inf, 0.0).sum(dim=-1)
