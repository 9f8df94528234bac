"""Attention on CPUs, where torch's fused one is slow.

With 16-bit numbers, torch's takes two to three times as long on windows of up to 512
tokens, forwards and backwards, and ten times as long on one token of many windows. This
one takes a part of the queries at a time, and only the keys that they read. Scores are
float32. The weights, in the number format of the values, are held for gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from surgeon_engine.planning.constants import ATTENTION_AT_ONCE, ATTENTION_QUERIES

_FUSED = "sdpa"  # torch's attention, by the name that transformers gives it


def attend_fast_on_cpus() -> None:
    """Take the place of torch's fused attention in the models of this process."""
    AttentionInterface.register(_FUSED, _attend)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the output of an attention function of transformers, and no weights.

    Args:
        module: the attention.
        query: windows x heads x queries x size.
        key: windows x heads of keys x keys x size.
        value: windows x heads of keys x keys x size of values.
        attention_mask: boolean, or added to the scores; None: a query reads all keys,
            or the keys up to its own position.
        scaling: factor of the scores; None: 1 / sqrt(size).
        options: further options of fused attention.

    Returns:
        Windows x queries x heads x size of values.
    """
    if not _is_fast(query, key, attention_mask, options):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    is_causal = options.get("is_causal")
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
    windows, heads, queries, size = query.shape
    shared = key.shape[1]
    scores = _Scores(
        size**-0.5 if scaling is None else scaling,
        is_causal and queries > 1,
        None if attention_mask is None else _added(attention_mask, windows, shared),
    )
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = (x.to(dtype) for x in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        found = _Attention.apply(
            query.reshape(windows * shared, heads // shared, queries, size),
            key.reshape(windows * shared, -1, size),
            value.reshape(windows * shared, -1, value.shape[-1]),
            scores,
        )
    return found.view(windows, heads, queries, -1).transpose(1, 2).contiguous(), None


def _is_fast(
    query: Tensor, key: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> bool:
    """Return whether this attention is fast, and computes the same as torch's."""
    if query.device.type != "cpu" or options.get("dropout"):
        return False
    if any(options.get(name) is not None for name in ("position_bias", "softcap")):
        return False
    windows, _, queries, _ = query.shape
    if len(key) != windows:
        return False
    if queries == 1:
        return windows > 1 and (mask is None or mask.shape[1] == 1)
    return mask is None and queries == key.shape[2] <= ATTENTION_QUERIES


def _added(mask: Tensor, windows: int, shared: int) -> Tensor:
    """Return the mask of one query as a term of the scores of each head of keys.

    Shape (windows x heads of keys) x 1 x keys.
    """
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    return mask[:, 0].expand(windows, 1, -1).repeat_interleave(shared, dim=0)


class _Scores(NamedTuple):
    """The rule that turns products of queries and keys into weights."""

    scale: float
    is_causal: bool
    added: Tensor | None

    def parts(self, queries: int, keys: int) -> list[tuple[slice, slice]]:
        """Return the queries of each part, and the keys that they read."""
        starts = range(0, queries, ATTENTION_AT_ONCE)
        parts = [slice(at, min(queries, at + ATTENTION_AT_ONCE)) for at in starts]
        return [(part, slice(part.stop if self.is_causal else keys)) for part in parts]

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the weights of the keys for each query of a part.

        Args:
            queries: n x heads x queries x size.
            keys: n x size x keys, float32 or float64.

        Returns:
            n x (heads x queries) x keys, in the number format of `keys`.
        """
        count = queries.shape[2]
        scores = torch.bmm(queries.to(keys.dtype).flatten(1, 2), keys).mul_(self.scale)
        if self.is_causal:
            later = torch.full((count, count), -torch.inf, dtype=scores.dtype).triu_(1)
            scores.view(*queries.shape[:3], -1)[..., -count:] += later
        if self.added is not None:
            scores += self.added
        return scores.softmax(dim=-1)


class _Attention(Function):
    """Attend to keys that heads share.

    n is windows x heads of keys.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scores: _Scores) -> Tensor:
        """Return n x heads x queries x size of values."""
        keys = k.to(torch.promote_types(k.dtype, torch.float32)).transpose(1, 2)
        found = v.new_empty(*q.shape[:3], v.shape[-1])
        held: list[Tensor] = []
        for part, read in scores.parts(q.shape[2], k.shape[1]):
            weights = scores.weights(q[:, :, part], keys[:, :, read]).to(v.dtype)
            of_part = found[:, :, part]
            of_part.copy_(torch.bmm(weights, v[:, read]).view(of_part.shape))
            if any(ctx.needs_input_grad):
                held.append(weights)
        ctx.scores = scores
        ctx.save_for_backward(q, k, v, *held)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients by queries, keys and values."""
        (grad,) = grads
        q, k, v, *held = ctx.saved_tensors
        exact = torch.promote_types(k.dtype, torch.float32)
        by_q = torch.empty_like(q)
        by_k, by_v = torch.zeros_like(k, dtype=exact), torch.zeros_like(v, dtype=exact)
        parts = ctx.scores.parts(q.shape[2], k.shape[1])
        for (part, read), weights in zip(parts, held, strict=True):
            rows, queries = grad[:, :, part].flatten(1, 2), q[:, :, part]
            by_v[:, read] += torch.bmm(weights.transpose(1, 2), rows)
            by_weights = torch.bmm(rows, v[:, read].transpose(1, 2))
            by_scores = torch._softmax_backward_data(by_weights, weights, -1, v.dtype)
            by_q[:, :, part] = torch.bmm(by_scores, k[:, read]).view(queries.shape)
            by_k[:, read] += torch.bmm(by_scores.transpose(1, 2), queries.flatten(1, 2))
        scale = ctx.scores.scale
        return by_q.mul_(scale), by_k.mul_(scale).to(k.dtype), by_v.to(v.dtype), None
