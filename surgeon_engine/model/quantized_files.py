"""Read quantized weight files like the files of a plain model.

transformers gets tensors under the names of a plain checkpoint. Each quantized weight
is computed when it asks for it, so that no more than a few are in memory twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from safetensors import safe_open
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from surgeon_engine.api.model_info.quantization import CONFIG, Quantization
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say
from surgeon_engine.model.dequantize import dequantize
from surgeon_engine.model.source import (
    INCOMPLETE_FILES,
    UNREADABLE,
    ModelSource,
    first_line,
    read_generation_config,
)
from surgeon_engine.runtime.failures import is_out_of_memory

_FLOATS = ("F64", "F32", "F16", "BF16")
_FP8 = "F8_"  # the beginning of the formats of 8 bits


class _Stored(Protocol):
    """A tensor in a file, which indexing reads."""

    def __getitem__(self, index: Any) -> Tensor: ...
    def get_dtype(self) -> str: ...


class _Weight:
    """A quantized weight, which indexing computes."""

    def __init__(
        self,
        name: str,
        parts: Mapping[str, _Stored],
        how: Quantization,
        *,
        is_transposed: bool,
    ) -> None:
        self._name, self._parts, self._how = name, parts, how
        self._is_transposed = is_transposed

    def __getitem__(self, index: Any) -> Tensor:
        try:
            parts = {ending: each[...] for ending, each in self._parts.items()}
            weight = dequantize(parts, self._how)
            return (weight.T if self._is_transposed else weight)[index]
        except UNREADABLE as error:
            if is_out_of_memory(error):
                raise
            reason = first_line(error)
            if isinstance(error, KeyError):
                reason = say("{tensor} is missing", tensor=error.args[0])
            raise ModelError(
                "{name} cannot be dequantized ({method}): {reason:clause}.",
                INCOMPLETE_FILES,
                name=self._name,
                method=self._how.label,
                reason=reason,
            ) from error


@contextmanager
def plain_tensors(
    source: ModelSource, transposed: Set[str]
) -> Iterator[dict[str, Any]]:
    """Open the weight files of a model; yield its tensors by their plain names.

    `transposed` are its `transposed_weights`.
    """
    how = source.quantization
    with ExitStack() as stack:
        stored: dict[str, _Stored] = {}
        for path in source.weight_files:
            file = stack.enter_context(safe_open(path, framework="pt"))
            stored |= {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        yield {**stored} if how is None else _by_plain_name(stored, how, transposed)


def transposed_weights(model: PreTrainedModel) -> Set[str]:
    """Return the names in files of the weights that a model holds as in x out.

    If they are quantized, they are out x in, like all others. The model may be without
    weights (on the meta device).
    """
    modules = model.named_modules()
    names = {f"{name}.weight" for name, x in modules if isinstance(x, Conv1D)}
    return names | {x.removeprefix(f"{model.base_model_prefix}.") for x in names}


def plain_arguments(config: PretrainedConfig, source: ModelSource) -> dict[str, Any]:
    """Return the arguments with which a plain model is loaded from tensors."""
    for each in {id(x): x for x in (config, config.get_text_config())}.values():
        if hasattr(each, CONFIG):
            delattr(each, CONFIG)
    generation = read_generation_config(source)
    return {"config": config} | (
        {} if generation is None else {"generation_config": generation}
    )


def _by_plain_name(
    stored: Mapping[str, _Stored], how: Quantization, transposed: Set[str]
) -> dict[str, Any]:
    """Return each weight with its parts, and all other tensors as they are."""
    weights: dict[str, dict[str, _Stored]] = defaultdict(dict)
    tensors: dict[str, Any] = {}
    for name, tensor in stored.items():
        if name.endswith(how.method.unused):
            continue
        found = how.method.split(name) or _stacked(name, stored, how.method.stacked)
        if found is None and tensor.get_dtype().startswith(_FP8):
            raise ModelError(
                "{name} has numbers of 8 bits, whose scales are not read.",
                "Choose the model in float32, float16 or bfloat16.",
                name=name,
            )
        if found is None:
            tensors[name] = tensor
        else:
            weights[found[0]][found[1]] = tensor
    for name, parts in weights.items():
        values = [parts[x] for x in how.method.values if x in parts]
        if not values:  # scales without weights, as for a cache
            continue
        # bitsandbytes can store packed numbers as if they were floats.
        is_plain = values[0].get_dtype() in _FLOATS and ".weight.absmax" not in parts
        weight = _Weight(name, parts, how, is_transposed=name in transposed)
        tensors[name] = values[0] if is_plain else weight
    return tensors


def _stacked(
    name: str, stored: Mapping[str, _Stored], scales: Sequence[str]
) -> tuple[str, str] | None:
    """Return the weight of stacked experts to which a tensor belongs, and its part.

    The names of such weights have no ending. None: it belongs to none.
    """
    ending = next((x for x in scales if name.endswith(x)), "")
    weight = name.removesuffix(ending)
    has_scale = any(weight + x in stored for x in scales)
    if not has_scale or weight not in stored:
        return None
    if not stored[weight].get_dtype().startswith(_FP8):
        return None
    return weight, ".weight_scale" if ending else ".weight"
