"""Attention with a learned sink for each head, by torch's fused attention.

The sink s of a head is a score without a key: it takes part in the softmax, and has no
value. transformers computes the softmax from all scores, heads x queries x keys, which
it holds in memory. Here the sink is a key:

    query  [q, s / scale, 0 ...]     keys  [k, 0, 0 ...], and [0, 1, 0 ...] with value 0

Its product with the query, times the scale, is s. Fused attention does not hold the
scores. The gradients are exact, also that by s, but in 16 bits s / scale is rounded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

# In the config of a model in memory; transformers does not write it. A name with the
# letters "sdpa" would be refused.
FUSED_SINKS = "fused_sinks"
_ALIGNED = 8  # numbers, for the kernels of GPUs


def fuse_sinks(model: PreTrainedModel) -> None:
    """Let the attentions of a model that have sinks be fused, if that is possible."""
    if _can_be_fused(model):
        model.config.get_text_config()._attn_implementation = FUSED_SINKS


def score_heads(model: PreTrainedModel) -> int:
    """Return the number of heads whose scores an attention holds; 0: it holds none."""
    is_plain = model.config.get_text_config()._attn_implementation == "eager"
    return heads_of(model) if is_plain and not _can_be_fused(model) else 0


def heads_of(model: PreTrainedModel) -> int:
    """Return the number of heads of an attention; 0: the model does not state one."""
    heads = getattr(model.config.get_text_config(), "num_attention_heads", 0)
    return heads if isinstance(heads, int) else 0


def _can_be_fused(model: PreTrainedModel) -> bool:
    """Return whether a model has sinks and takes its attention from a registry.

    Classes that allow other fused attentions do.
    """
    has_sinks = any(
        isinstance(getattr(module, "sinks", None), nn.Parameter)
        for module in model.modules()
    )
    return has_sinks and bool(model._supports_flash_attn)


def _fused(  # noqa: PLR0913  arguments of transformers
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Return the output of an attention function of transformers, and no weights.

    Args:
        module: the attention.
        query: windows x heads x queries x size.
        key: windows x heads of keys x keys x size.
        value: windows x heads of keys x keys x size of values.
        attention_mask: windows x 1 x queries x keys, is added to the scores.
        scaling: factor of the scores; None: 1 / sqrt(size).
        dropout: share of the weights.
        s_aux: the sinks, by head; None: this attention has none.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if s_aux is not None:
        query, key, value = _with_sink(query, key, value, s_aux / scale)
        if attention_mask is not None:
            attention_mask = _with_column(attention_mask.to(query.dtype))
    size = value.shape[-1]
    if value.device.type == "cpu":  # whose kernel needs values of the size of keys
        value = functional.pad(value, (0, max(0, key.shape[-1] - size)))
    found, _ = sdpa_attention_forward(
        module,
        query,
        key,
        value,
        attention_mask,
        dropout=dropout,
        scaling=scale,
        is_causal=False,  # the mask says that
    )
    return found[..., :size], None


def _with_sink(
    query: Tensor, key: Tensor, value: Tensor, sinks: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values with the sink as the last key.

    The size of heads becomes the next multiple of what kernels need.
    """
    size = query.shape[-1]
    more = _ALIGNED - size % _ALIGNED
    of_heads = functional.pad(sinks.to(query.dtype)[:, None, None], (0, more - 1))
    query = torch.cat([query, of_heads.expand(*query.shape[:-1], more)], dim=-1)
    key = functional.pad(key, (0, more, 0, 1))
    key[:, :, -1, size] = 1
    return query, key, functional.pad(value, (0, 0, 0, 1))


def _with_column(mask: Tensor) -> Tensor:
    """Return a mask with a column that allows all.

    Its rows begin at aligned places. Otherwise torch would copy it for its kernels.
    """
    keys = mask.shape[-1]
    return functional.pad(mask, (0, _ALIGNED - keys % _ALIGNED))[..., : keys + 1]


AttentionInterface.register(FUSED_SINKS, _fused)
AttentionMaskInterface.register(FUSED_SINKS, eager_mask)
