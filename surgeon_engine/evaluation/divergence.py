"""How far what a pruned model predicts is from what the dense one predicts.

    p, q   vocabulary   what the dense and the pruned model expect of the next token

KL(p || q) = sum p (log p - log q), in nats, and whether both put the same token first;
each is the mean over the tokens by which perplexity is measured on the same windows.
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

_AT_ONCE = 256  # tokens, of whose logits copies in float64 are made


@dataclass(frozen=True, slots=True)
class Divergence:
    """A pruned model beside the dense one, per predicted token."""

    nats: float  # KL(dense || pruned)
    agreement: float  # share of the tokens where both put the same one first


@torch.no_grad()
def divergence(
    dense: PreTrainedModel,
    pruned: PreTrainedModel,
    windows: Tensor,
    batch: int,
    step: Callable[[], None],
) -> Divergence:
    """Of two models on the same `windows` (windows x length); `step` after each batch.

    Raises:
        EvaluationError: it is not finite.
    """
    nats, agreed = 0.0, 0
    for tokens in windows.split(batch):
        tokens = tokens.to(dense.device)
        expected = dense(tokens, use_cache=False).logits[:, :-1]
        found = pruned(tokens, use_cache=False).logits[:, :-1]
        parts = (x.flatten(0, 1).split(_AT_ONCE) for x in (expected, found))
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
    """KL(p || q) of two sets of logits, tokens x vocabulary.  One for each token.

    A token that p rules out adds nothing, whatever q says of it.
    """
    log_p = functional.log_softmax(p.double(), dim=-1)
    log_q = functional.log_softmax(q.double(), dim=-1)
    terms = functional.kl_div(log_q, log_p, reduction="none", log_target=True)
    terms = terms.masked_fill(log_p == -math.inf, 0.0)
    return terms.sum(dim=-1).clamp(min=0.0)  # it is never below, but for rounding
