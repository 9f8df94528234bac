"""Write tensors as safetensors, one shard at a time.

The files have the names that transformers expects: `model.safetensors`, or shards with
an index. The tensors in them have those of published checkpoints, if they are asked
for: transformers stacks the experts of a block when it loads a model, and renames some
tensors, and its tables of conversions work backwards, too. That is done for one block
at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.base.errors import ExportError
from surgeon_engine.compaction.slices import TensorSlice
from surgeon_engine.model.layers import blocks_path
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.planning.constants import TENSOR_ENTRY
from surgeon_engine.planning.file_form import number_format
from surgeon_engine.runtime import devices

DTYPES = {
    FileDtype.FLOAT32: torch.float32,
    FileDtype.BFLOAT16: torch.bfloat16,
    FileDtype.FLOAT16: torch.float16,
}
_GIGABYTE = 1_000_000_000


def named_dtype(requested: FileDtype, loaded: LoadedModel) -> FileDtype:
    """Resolve the dtype of an exported file."""
    stored = "" if loaded.stored is None else devices.name_of(loaded.stored)
    computed = devices.name_of(loaded.model.dtype)
    return number_format(requested, computed, stored)


def file_dtype(requested: FileDtype, loaded: LoadedModel) -> torch.dtype:
    """Resolve the torch dtype of floating-point tensors in safetensors files."""
    return DTYPES[named_dtype(requested, loaded)]


@dataclass(frozen=True, slots=True, eq=False)
class FilePart:
    """Tensors of a model that are converted together: those of a block, or the others.

    `stock` is a model without weights of the size of the file, whose class says which
    names and forms published checkpoints have; None: those of the model.
    """

    slices: Mapping[str, TensorSlice]
    dtypes: Mapping[str, torch.dtype]  # of floating-point tensors, by name in the file
    dtype: torch.dtype  # of all others
    stock: PreTrainedModel | None = None

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each tensor in the file, by its name there."""
        empty = {
            name: torch.empty(each.shape, dtype=each.whole.dtype, device="meta")
            for name, each in self.slices.items()
        }
        found = self._published(empty)
        return {name: _bytes(x, self._dtype(name)) for name, x in found.items()}

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each tensor with its name in the file.

        Raises:
            ExportError: A weight is too large for its dtype.
        """
        whole = {name: each.tensor() for name, each in self.slices.items()}
        for name, tensor in self._published(whole).items():
            yield name, cast(name, tensor, self._dtype(name)).contiguous()

    def _dtype(self, name: str) -> torch.dtype:
        return self.dtypes.get(name, self.dtype)

    def _published(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.stock is None:
            return tensors
        return revert_weight_conversion(self.stock, tensors)


def file_parts(
    slices: Mapping[str, TensorSlice],
    requested: FileDtype,
    loaded: LoadedModel,
    stock: PreTrainedModel | None = None,
) -> list[FilePart]:
    """Return the tensors of a file in parts, the blocks after the others.

    With SAME, tensors outside the decoder blocks keep the dtype that they have in the
    original's files, as long as float32 has held their values exactly: a vision tower
    in float32 beside a language model in bfloat16 stays as it is.
    """
    dtype = file_dtype(requested, loaded)
    own: Mapping[str, torch.dtype] = {}
    if requested is FileDtype.SAME and loaded.model.dtype == torch.float32:
        own = loaded.stored_dtypes
    prefix = f"{blocks_path(loaded.model)}."
    parts: dict[str, dict[str, TensorSlice]] = {"": {}}
    for name, each in slices.items():
        is_inside = name.startswith(prefix)
        block = name.removeprefix(prefix).partition(".")[0] if is_inside else ""
        parts.setdefault(block, {})[name] = each
    return [
        FilePart(tensors, {} if block else own, dtype, stock)
        for block, tensors in parts.items()
    ]


def bytes_of(parts: Iterable[FilePart]) -> int:
    """Return the total size of the files, headers included."""
    return sum(size + TENSOR_ENTRY for part in parts for size in part.sizes().values())


def write_weights(
    parts: Sequence[FilePart], shard_gigabytes: float, folder: Path
) -> None:
    """Write tensors into `folder`, with at most `shard_gigabytes` in each file.

    Raises:
        ExportError: A weight is too large for its dtype.
    """
    sizes = {name: size for part in parts for name, size in part.sizes().items()}
    shards = _shards(sizes, shard_gigabytes * _GIGABYTE)
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [
            f"model-{i:05}-of-{len(shards):05}.safetensors"
            for i in range(1, len(shards) + 1)
        ]
        index = {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": {
                tensor: name
                for name, shard in zip(names, shards, strict=True)
                for tensor in shard
            },
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    tensors = (named for part in parts for named in part.tensors())
    for name, shard in zip(names, shards, strict=True):
        some = dict(islice(tensors, len(shard)))
        save_file(some, folder / name, metadata={"format": "pt"})


def cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a floating-point tensor to `dtype`; return other tensors unchanged.

    Raises:
        ExportError: A weight is too large for `dtype`.
    """
    if not tensor.is_floating_point() or tensor.dtype == dtype:
        return tensor
    result = tensor.to(dtype)
    if bool((result.isinf() & tensor.isfinite()).any()):
        largest, maximum = float(tensor.abs().max()), torch.finfo(dtype).max
        raise ExportError(
            "{name} holds a weight of {largest:,.0f}, but the maximum of "
            "{dtype} is {maximum:,.0f}.",
            "Choose bfloat16 or float32.",
            name=name,
            largest=largest,
            dtype=devices.name_of(dtype),
            maximum=maximum,
        )
    return result


def _shards(sizes: Mapping[str, int], max_bytes: float) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    total = 0
    for name, size in sizes.items():
        if shards[-1] and total + size > max_bytes:
            shards.append([])
            total = 0
        shards[-1].append(name)
        total += size
    return shards


def _bytes(each: Tensor, dtype: torch.dtype) -> int:
    item_size = dtype.itemsize if each.is_floating_point() else each.element_size()
    return each.numel() * item_size
