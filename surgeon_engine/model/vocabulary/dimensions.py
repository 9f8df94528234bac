"""The tensors with a dimension of the vocabulary, in any model.

Their shapes change when the class of the model gets a config with fewer tokens.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from surgeon_engine.base.errors import ModelError
from surgeon_engine.model import offload
from surgeon_engine.model.source import UNREADABLE, first_line
from surgeon_engine.model.vocabulary.config_ids import NewNumbers, needed_rows, renumber
from surgeon_engine.model.vocabulary.definition import OTHERS

# Attributes of modules.
_NUMBER = re.compile(r"num_embeddings$|out_features$|padding_idx$|vocab_")


@dataclass(frozen=True, slots=True)
class Shortened:
    """A parameter or buffer, and the part of a dimension of it that remains."""

    module: nn.Module
    name: str  # name in the module
    dimension: int
    rows: Tensor  # int64, on the host

    def apply(self) -> None:
        """Remove the other part; tied modules have the same parameter."""
        tensor: Any = getattr(self.module, self.name)
        rows = self.rows.to(tensor.device)
        data = tensor.data.index_select(self.dimension, rows)
        if isinstance(tensor, nn.Parameter):
            offload.set_data(tensor, data)
        else:
            self.module._buffers[self.name] = data


def parameters_per_token(model: PreTrainedModel) -> int:
    """Return how many parameters a model loses with a token; tied ones count once.

    Raises:
        ModelError: Its vocabulary cannot be made smaller.
    """
    rows = _rows(model)
    spare = min(set(range(rows)) - required_rows(model), default=0)
    kept = torch.tensor([row for row in range(rows) if row != spare])
    new = empty_model(model, NewNumbers(kept.tolist()))
    found = shortened(model, new, kept)
    sizes = ((getattr(x.module, x.name), x.dimension) for x in found)
    return sum(x.numel() // x.shape[dimension] for x, dimension in sizes)


def _rows(model: PreTrainedModel) -> int:
    """Return the rows of the embedding of tokens."""
    try:
        weight: Tensor = model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError) as error:
        raise ModelError(
            "The model does not have one embedding for all tokens.", OTHERS
        ) from error
    return len(weight)


def required_rows(model: PreTrainedModel) -> set[int]:
    """Return the rows of the embedding that a model needs whatever its texts are."""
    return needed_rows(model.config, model.generation_config, _rows(model))


def empty_model(model: PreTrainedModel, numbers: NewNumbers) -> PreTrainedModel:
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
            "transformers cannot build this model with fewer tokens: {reason:clause}.",
            OTHERS,
            reason=first_line(error),
        ) from error


def shortened(
    model: PreTrainedModel, new: PreTrainedModel, kept: Tensor
) -> Iterator[Shortened]:
    """Yield the tensors that are shorter in the new model, tied ones once.

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
            yield Shortened(module, name, dimension, rows)


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
        "The vocabulary of this model cannot be made smaller: {name} would be "
        "{after} instead of {before}.",
        OTHERS,
        name=name,
        after=" x ".join(map(str, after)),
        before=" x ".join(map(str, before)),
    )


def take_numbers(model: PreTrainedModel, new: PreTrainedModel) -> None:
    """Copy the numbers of modules that count tokens from the modules of a new model."""
    for path, module in model.named_modules():
        other = vars(new.get_submodule(path))
        for name in filter(_NUMBER.match, list(vars(module))):
            setattr(module, name, other[name])
