"""Remove tokens from a loaded model, which is then an ordinary one with fewer.

    kept   original numbers of the tokens, ascending; the new ones are their places

Which tensors have a dimension of the vocabulary, its class says: they are those that
change when the config has fewer tokens. Weights are replaced one after the other, so
that no more than one is in memory twice.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say
from surgeon_engine.model import offload
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.source import UNREADABLE, first_line
from surgeon_engine.model.vocabulary.config_ids import (
    NewNumbers,
    named_tokens,
    offsets,
    renumber,
    text_configs,
)
from surgeon_engine.model.vocabulary.tokenizer import trimmed_tokenizer

# Attributes of modules.
_NUMBER = re.compile(r"num_embeddings$|out_features$|padding_idx$|vocab_")
_OTHERS = say("Prune other structures.")


@dataclass(frozen=True, slots=True)
class _Shortened:
    """A parameter or buffer, and the part of a dimension of it that remains."""

    module: nn.Module
    name: str  # in the module
    dimension: int
    rows: Tensor  # int64, on the host


def with_vocabulary(loaded: LoadedModel, kept: Tensor) -> LoadedModel:
    """Remove all other tokens from a whole model, in place, and from its tokenizer.

    A text of kept tokens has the same hidden states and logits. Rows of embeddings
    after those of the tokenizer are removed, too.

    Args:
        loaded: the model; nothing has been removed from it yet.
        kept: with at least `required_tokens`; all tokens of the tokenizer: nothing
            is changed.

    Returns:
        The model; use the other no longer.

    Raises:
        ModelError: A token is missing, or the vocabulary of the model cannot be made
            smaller. The model is unchanged.
    """
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        raise ModelError(
            say("A model without a tokenizer keeps all its tokens."), _OTHERS
        )
    _check_tokens(loaded, kept)
    if len(kept) >= tokenizer_size(tokenizer):
        return loaded
    model = loaded.model
    rows = torch.cat([kept, torch.tensor(_rows_beside(loaded), dtype=torch.int64)])
    numbers = NewNumbers(rows.tolist())
    new = _empty_model(model, numbers)
    shortened = list(_shortened(model, new, rows))
    smaller = trimmed_tokenizer(tokenizer, kept)
    with torch.no_grad():
        for each in shortened:
            _shorten(each)
    _take_numbers(model, new)
    for config in _configs(model):
        renumber(config, numbers)
    if model.generation_config is not None:
        renumber(model.generation_config, numbers)
    return replace(loaded, tokenizer=smaller, kept_tokens=rows)


def required_tokens(loaded: LoadedModel) -> frozenset[int]:
    """Return the tokens of the tokenizer that a model needs whatever its texts are."""
    size = 0 if loaded.tokenizer is None else tokenizer_size(loaded.tokenizer)
    return frozenset(row for row in _required_rows(loaded.model) if row < size)


def tokenizer_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number after that of the last token."""
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def _check_tokens(loaded: LoadedModel, kept: Tensor) -> None:
    """Check that the required tokens are kept.

    Raises:
        ModelError: One is not.
    """
    missing = sorted(required_tokens(loaded).difference(kept.tolist()))
    if missing:
        raise ModelError(
            say(
                "The config of the model names {count:,} tokens that would be removed, "
                "such as {token:,}.",
                count=len(missing),
                token=missing[0],
            ),
            say("Keep them."),
        )


def _rows_beside(loaded: LoadedModel) -> list[int]:
    """Return the required rows after those of the tokenizer."""
    assert loaded.tokenizer is not None
    size = tokenizer_size(loaded.tokenizer)
    return sorted(row for row in _required_rows(loaded.model) if row >= size)


def _required_rows(model: PreTrainedModel) -> set[int]:
    """Return the rows of the embedding that a model needs whatever its texts are.

    They are the tokens that its configs name, those of towers, and those beyond the
    stated size of the vocabulary, which some models have for images.
    """
    config = model.config
    rows = model.get_input_embeddings().weight.shape[0]
    vocabulary = config.get_text_config().vocab_size
    first = min((x.vocab_offset for x in offsets(config)), default=vocabulary)
    named = named_tokens(config, model.generation_config)
    return {*range(min(first, vocabulary), rows), *(x for x in named if x < rows)}


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


def _empty_model(model: PreTrainedModel, numbers: NewNumbers) -> PreTrainedModel:
    """Return a model of the class with fewer tokens, on the meta device.

    Raises:
        ModelError: There is none.
    """
    config = copy.deepcopy(model.config)
    renumber(config, numbers)
    try:
        with torch.device("meta"):
            return type(model)._from_config(config)
    except UNREADABLE as error:
        raise ModelError(
            say(
                "transformers cannot build this model with fewer tokens: "
                "{reason:clause}.",
                reason=first_line(error),
            ),
            _OTHERS,
        ) from error


def _shortened(
    model: PreTrainedModel, new: PreTrainedModel, kept: Tensor
) -> Iterator[_Shortened]:
    """Yield what is shorter in the new model, tied weights once.

    Raises:
        ModelError: Something has another shape that fewer tokens do not explain.
    """
    seen: set[int] = set()
    for path, module in model.named_modules():
        other = new.get_submodule(path)
        tensors = {**module._parameters, **module._buffers}
        for name, tensor in tensors.items():
            if tensor is None or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            wanted = getattr(other, name).shape
            if tensor.shape == wanted:
                continue
            full = f"{path}.{name}"
            dimension = _dimension(full, tensor.shape, wanted)
            rows = kept[kept < tensor.shape[dimension]]
            if len(rows) != wanted[dimension]:
                raise _shape_error(full, tensor.shape, wanted)
            yield _Shortened(module, name, dimension, rows)


def _dimension(name: str, before: torch.Size, after: torch.Size) -> int:
    """Return the only dimension in which shapes differ."""
    if len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        different = [i for i, (old, wanted) in pairs if old != wanted]
        if len(different) == 1:
            return different[0]
    raise _shape_error(name, before, after)


def _shape_error(name: str, before: torch.Size, after: torch.Size) -> ModelError:
    return ModelError(
        say(
            "The vocabulary of this model cannot be made smaller: {name} would be "
            "{after} instead of {before}.",
            name=name,
            after=" x ".join(map(str, after)),
            before=" x ".join(map(str, before)),
        ),
        _OTHERS,
    )


def _shorten(each: _Shortened) -> None:
    tensor: Any = getattr(each.module, each.name)
    rows = each.rows.to(tensor.device)
    data = tensor.data.index_select(each.dimension, rows)
    if isinstance(tensor, nn.Parameter):
        offload.set_data(tensor, data)  # tied modules have the same parameter
    else:
        each.module._buffers[each.name] = data


def _take_numbers(model: PreTrainedModel, new: PreTrainedModel) -> None:
    """Take the numbers of a vocabulary that modules hold from those of a new model."""
    for path, module in model.named_modules():
        other = vars(new.get_submodule(path))
        for name in filter(_NUMBER.match, list(vars(module))):
            setattr(module, name, other[name])
