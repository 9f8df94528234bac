"""Load a model block by block into temporary files, where memory is short.

transformers reads all weights before it stacks single experts, or dequantizes weights,
and holds the whole model in memory. Here it loads the model once for each block, while
all other blocks are empty; the weights then go to memory-mapped files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from typing_extensions import override

from surgeon_engine.model.layers import blocks_path, find_blocks, is_tower
from surgeon_engine.model.quantized_files import (
    plain_arguments,
    plain_tensors,
    transposed_weights,
)
from surgeon_engine.model.source import ModelSource
from surgeon_engine.runtime import host_memory
from surgeon_engine.runtime.mapped_tensors import MappedTensors

_PROBLEMS = ("missing_keys", "mismatched_keys")


def has_own_blocks(model: PreTrainedModel) -> bool:
    """Return whether no block has weights of another one, so that each can be loaded.

    The model may be without weights (on the meta device).
    """
    prefix = f"{blocks_path(model)}."
    return not any(name.startswith(prefix) for name in model.all_tied_weights_keys)


def load_in_blocks(
    source: ModelSource, config: PretrainedConfig, model: PreTrainedModel
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a model whose blocks are in files, and the loading info of transformers.

    At most one block is in memory at a time, and the tensors beside the blocks. `model`
    is on the meta device, with blocks of its own; it gets the weights.

    Raises:
        OSError, ValueError, RuntimeError, ...: transformers cannot read the files.
    """
    arguments = plain_arguments(config, source) | {"dtype": model.dtype}
    stock, files = type(model), MappedTensors()
    problems: dict[str, Any] = {name: set() for name in _PROBLEMS}
    with plain_tensors(source, transposed_weights(model)) as tensors:
        blocks, list_path = find_blocks(model), blocks_path(model)
        beside = _names_beside(model)
        numbers = _block_numbers(tensors, list_path, len(blocks), beside)
        for index, block in enumerate(blocks):
            part, found = _part_of(stock, index).from_pretrained(
                None,
                state_dict=_tensors_of(tensors, numbers, beside, index),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **arguments,
            )
            for name in _PROBLEMS:
                problems[name] |= set(found.get(name) or ())
            _take(block, part.get_submodule(f"{list_path}.{index}"), files)
            if index == 0:
                _take_others(model, part, blocks)
                model.generation_config = part.generation_config
            del part, found
            host_memory.return_freed()
    model.tie_weights()
    return model.eval(), problems


class _OneBlock(nn.ModuleList):
    """A list of blocks in which all but one are empty.

    Classes that initialize modules inside their blocks (Falcon-H1) find only that one.
    """

    @override
    def __iter__(self) -> Iterator[nn.Module]:
        return (block for block in self.children() if len(block._modules))


def _part_of(stock: type[PreTrainedModel], index: int) -> type[PreTrainedModel]:
    """Return a class whose models have only one block that is not empty.

    It counts as one of transformers, which would not rename tensors for others.
    """

    def __init__(self: PreTrainedModel, config: PretrainedConfig) -> None:
        stock.__init__(self, config)
        path = blocks_path(self)
        blocks = enumerate(self.get_submodule(path).children())
        alone = [block if n == index else nn.Module() for n, block in blocks]
        self.set_submodule(path, _OneBlock(alone))

    own = {"__init__": __init__, "__module__": stock.__module__}
    return type(stock.__name__, (stock,), own)


def _names_beside(model: PreTrainedModel) -> Set[str]:
    """Return the names of tensors beside the blocks, here and in published files."""
    prefix = f"{blocks_path(model)}."
    tensors = model.state_dict()
    own = {name: x for name, x in tensors.items() if not name.startswith(prefix)}
    return own.keys() | revert_weight_conversion(model, own).keys()


def _block_numbers(
    tensors: Iterable[str], path: str, blocks: int, beside: Set[str]
) -> dict[str, int]:
    """Return the block of each tensor of a block, by its name in the files.

    The names before the number may differ from the model's. Towers may have a list of
    blocks, too.
    """
    pattern = re.compile(rf"(.*\b)?{re.escape(path.rpartition('.')[2])}\.(\d+)\.")
    by_prefix: dict[str, dict[str, int]] = {}
    for name in tensors:
        match = pattern.match(name)
        if match and name not in beside and not is_tower(name):
            by_prefix.setdefault(match[1] or "", {})[name] = int(match[2])
    wanted = set(range(blocks))
    found = (x for x in by_prefix.values() if {*x.values()} >= wanted)
    return max(found, key=len, default={})


def _tensors_of(
    tensors: Mapping[str, Any],
    numbers: Mapping[str, int],
    beside: Set[str],
    index: int,
) -> dict[str, Any]:
    """Return the tensors of a block; block 0 also gets the tensors beside the blocks.

    Other blocks get zeros in their place, which take no memory. A tensor whose name has
    no block number may belong to any block.
    """
    found = {}
    for name, tensor in tensors.items():
        is_read = index == 0 or name not in beside
        if numbers.get(name, index) == index:
            found[name] = tensor if name in numbers or is_read else _nothing(tensor)
    return found


def _nothing(tensor: Any) -> Any:
    shape = getattr(tensor, "get_shape", None)
    return tensor if shape is None else torch.zeros(()).expand(shape())


def _take(block: nn.Module, loaded: nn.Module, files: MappedTensors) -> None:
    """Give a block the weights of a loaded one, in files, and its buffers."""
    for path, module in block.named_modules():
        other = loaded.get_submodule(path)
        for name, parameter in other._parameters.items():
            if parameter is not None:
                kept = files.keep(parameter.detach())
                module._parameters[name] = nn.Parameter(kept, requires_grad=False)
        module._buffers.update(other._buffers)


def _take_others(
    model: PreTrainedModel, part: PreTrainedModel, blocks: tuple[nn.Module, ...]
) -> None:
    """Give a model the weights and buffers beside its blocks."""
    inside = {module for block in blocks for module in block.modules()}
    for path, module in model.named_modules():
        if module in inside:
            continue
        other = part.get_submodule(path)
        module._parameters.update(other._parameters)
        module._buffers.update(other._buffers)
