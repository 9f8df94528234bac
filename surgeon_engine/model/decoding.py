"""Decode token by token, with any version of transformers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_FUSED = "sdpa"  # torch's attention, by the name that transformers gives it


def with_cache(model: PreTrainedModel) -> dict[str, Any]:
    """Return an empty cache as a keyword argument of the model.

    transformers renamed the argument in version 5.
    """
    parameters = inspect.signature(model.forward).parameters
    name = "cache" if "cache" in parameters else "past_key_values"
    return {name: DynamicCache(config=model.config.get_text_config())}


def last_logits_alone(model: PreTrainedModel) -> dict[str, Any]:
    """Return the keyword argument for the logits of the last token only.

    It is empty for a model that does not support it.
    """
    parameters = inspect.signature(model.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}


@contextmanager
def fast_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let a model on a CPU attend from one token without torch's fused kernel.

    That takes up to ten times as long if many windows are decoded at once.
    """
    if model.device.type != "cpu":
        yield
        return
    ALL_ATTENTION_FUNCTIONS[_FUSED] = _one_query
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS[_FUSED]  # the one of transformers is there again


def _one_query(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return what an attention of transformers reads, and no weights.

    The heads that share a key become the queries of one head.

    Args:
        module: the attention.
        query: windows x heads x queries x size.
        key: windows x heads of keys x keys x size.
        value: windows x heads of keys x keys x size of values.
        attention_mask: of the scores; None: all keys are read, up to the query's.
        scaling: of the scores; None: 1 / sqrt(size).
        options: of fused attention.
    """
    windows, heads, queries, size = query.shape
    is_shared = attention_mask is None or attention_mask.shape[1] == 1
    if queries > 1 or not is_shared or options.get("position_bias") is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    with sdpa_kernel(SDPBackend.MATH):
        found = functional.scaled_dot_product_attention(
            query.reshape(windows, key.shape[1], -1, size),
            key,
            value,
            attn_mask=attention_mask,
            scale=scaling,
        )
    return found.reshape(windows, 1, heads, -1), None
