"""The divergence of two models' predictions.

    p, q   vocabulary   probabilities of the next token by the original, by a model

KL(p || q) = sum p (log p - log q), in nats per token.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


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
