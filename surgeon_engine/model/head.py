"""The last hidden states of a model, and the logits that its head makes of them.

Logits are large: tokens x vocabulary. The head alone computes the logits of a part
of the tokens, so that they need not be held at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from surgeon_engine.model.block_runner import replaced_forward
from surgeon_engine.model.layers import body_of, language_model_of
from surgeon_engine.planning.constants import LOGITS_AT_ONCE


class _LastHidden(BaseModelOutputWithPastAndCrossAttentions):
    """The output of a body; fields other than the hidden states are None."""

    def __getattr__(self, _: str) -> None:
        return None


def last_hidden(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Return the hidden states that the head reads: windows x length x hidden."""
    return body_of(model)(input_ids=tokens, use_cache=False)[0]


def head_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return the logits of hidden states: windows x length x vocabulary."""
    hidden = hidden.contiguous()  # else torch copies the weight for each window

    def forward(*_: Any, **__: Any) -> _LastHidden:
        return _LastHidden(last_hidden_state=hidden)

    tokens = hidden.new_zeros(hidden.shape[:2], dtype=torch.long)
    with replaced_forward((body_of(model),), forward):
        whole = language_model_of(model)
        return whole(input_ids=tokens, use_cache=False).logits


def head_weight(model: PreTrainedModel) -> Tensor:
    """Return the weight of the head: vocabulary x hidden."""
    weight: Tensor = language_model_of(model).get_output_embeddings().weight
    return weight


def head_bias(model: PreTrainedModel) -> Tensor | None:
    """Return the bias of the head; None: it has none."""
    head = language_model_of(model).get_output_embeddings()
    bias: Tensor | None = getattr(head, "bias", None)
    return bias


@contextmanager
def with_head(
    model: PreTrainedModel, weight: Tensor | None, bias: Tensor | None = None
) -> Iterator[None]:
    """Let the head of a model have other numbers during the block.

    Args:
        model: the model that has the head.
        weight: vocabulary x hidden, of any vocabulary; None: nothing changes.
        bias: shape vocabulary; None: the head keeps its own, if it has one.
    """
    if weight is None:
        yield
        return
    parameters = [(head_weight(model), weight)]
    if bias is not None:
        own_bias = head_bias(model)
        assert own_bias is not None
        parameters.append((own_bias, bias))
    own = [parameter.data for parameter, _ in parameters]
    for parameter, data in parameters:
        parameter.data = data
    try:
        yield
    finally:
        for (parameter, _), data in zip(parameters, own, strict=True):
            parameter.data = data


def logit_parts(
    model: PreTrainedModel,
    labels: Tensor,
    at_once: int | None = None,
    head: Tensor | None = None,
) -> Iterator[slice]:
    """Yield slices of the tokens of a window with at most so many logits.

    Args:
        model: the model that has the vocabulary.
        labels: windows x tokens, to be sliced along the tokens.
        at_once: logits per slice, which has at least one token; None: a usual number.
        head: the weight of another head that may give more logits; None: none does.
    """
    vocabulary = model.config.get_text_config().vocab_size
    if head is not None:
        vocabulary = max(vocabulary, len(head))
    size = max(1, (at_once or LOGITS_AT_ONCE) // (len(labels) * vocabulary))
    for start in range(0, labels.shape[1], size):
        yield slice(start, start + size)
