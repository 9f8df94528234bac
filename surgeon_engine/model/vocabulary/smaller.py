"""Remove tokens from a loaded model, which is then an ordinary one with fewer.

    kept   original numbers of the tokens, ascending; the new ones are their places

Weights are replaced one after the other, so that no more than one is in memory twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.vocabulary.config_ids import (
    NewNumbers,
    renumber,
    text_configs,
)
from surgeon_engine.model.vocabulary.definition import OTHERS
from surgeon_engine.model.vocabulary.dimensions import (
    empty_model,
    required_rows,
    shortened,
    take_numbers,
)
from surgeon_engine.model.vocabulary.trimmed import trimmed_tokenizer

UNRELATED = say("Choose a model and a pruned or quantized version of it.")


def with_vocabulary(loaded: LoadedModel, kept: Tensor) -> LoadedModel:
    """Remove all other tokens from a whole model, in place, and from its tokenizer.

    A text of kept tokens has the same hidden states and logits. Rows of embeddings
    beyond the tokenizer are removed, too, unless the model needs them.

    Args:
        loaded: the model; nothing has been removed from it yet.
        kept: ids of the kept tokens, with at least `required_tokens`; with all tokens
            of the tokenizer, nothing is changed.

    Returns:
        The model; use the other no longer.

    Raises:
        ModelError: A token is missing, or the vocabulary of the model cannot be made
            smaller. The model is unchanged.
    """
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        raise ModelError("A model without a tokenizer keeps all its tokens.", OTHERS)
    _check_tokens(loaded, kept)
    if len(kept) >= tokenizer_size(tokenizer):
        return loaded
    model = loaded.model
    rows = with_rows_beside(loaded, kept)
    numbers = NewNumbers(rows.tolist())
    new = empty_model(model, numbers)
    found = list(shortened(model, new, rows))
    smaller = trimmed_tokenizer(tokenizer, kept.tolist())
    with torch.no_grad():
        for each in found:
            each.apply()
    take_numbers(model, new)
    for config in _configs(model):
        renumber(config, numbers)
    if model.generation_config is not None:
        renumber(model.generation_config, numbers)
    return replace(loaded, tokenizer=smaller, kept_tokens=rows)


def required_tokens(loaded: LoadedModel) -> frozenset[int]:
    """Return the tokens of the tokenizer that a model needs whatever its texts are."""
    size = 0 if loaded.tokenizer is None else tokenizer_size(loaded.tokenizer)
    return frozenset(row for row in required_rows(loaded.model) if row < size)


def tokenizer_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the highest number of a token plus 1."""
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def kept_tokens(
    original: PreTrainedTokenizerBase, smaller: PreTrainedTokenizerBase
) -> Tensor:
    """Return the original's number of each token of a smaller vocabulary.

    The numbers are int64 and ascend. Unknown tokens at the end are left out: rows of
    embeddings without a token.

    Raises:
        ModelError: The tokens are not some of the original's in the same order.
    """
    numbers = original.get_vocab()
    names = sorted(smaller.get_vocab().items(), key=lambda x: x[1])
    kept = [numbers.get(name, -1) for name, _ in names]
    while kept and kept[-1] < 0:
        kept.pop()
    before = [-1, *kept[:-1]]
    strange = [i for i, x in enumerate(kept) if x <= before[i]]
    if strange or not kept:
        first = strange[0] if strange else 0
        raise ModelError(
            "The tokens of the file are not some of the original's: {count:,} of "
            "{tokens:,} differ, such as {token:shown}.",
            UNRELATED,
            count=len(strange) or len(names),
            tokens=len(names),
            token=names[first][0] if names else "",
        )
    return torch.tensor(kept)


def is_part(
    smaller: PreTrainedTokenizerBase, original: PreTrainedTokenizerBase
) -> bool:
    """Return whether the tokens of a tokenizer are some of the original's."""
    try:
        kept_tokens(original, smaller)
    except ModelError:
        return False
    return True


def with_rows_beside(loaded: LoadedModel, kept: Tensor) -> Tensor:
    """Return kept tokens and the required rows beyond the tokenizer."""
    assert loaded.tokenizer is not None
    size = tokenizer_size(loaded.tokenizer)
    beside = sorted(row for row in required_rows(loaded.model) if row >= size)
    return torch.cat([kept, torch.tensor(beside, dtype=torch.int64)])


def _check_tokens(loaded: LoadedModel, kept: Tensor) -> None:
    """Check that the required tokens are kept."""
    missing = sorted(required_tokens(loaded).difference(kept.tolist()))
    if missing:
        raise ModelError(
            "The config of the model names {count:,} tokens that would be removed, "
            "such as {token:,}.",
            "Keep them.",
            count=len(missing),
            token=missing[0],
        )


def _configs(model: PreTrainedModel) -> Iterator[PretrainedConfig]:
    """Yield the config of a model, and copies of its inner part that modules have."""
    yield model.config
    inside = text_configs(model.config)
    seen = set(map(id, inside))
    for module in model.modules():
        config = getattr(module, "config", None)
        if type(config) is type(inside[-1]) and id(config) not in seen:
            seen.add(id(config))
            yield config
