"""Write tensors as safetensors, one shard at a time.

The files have the names that transformers expects: `model.safetensors`, or shards with
an index. On request, tensors have the names of published checkpoints: transformers
stacks the experts of a block when it loads a model, and renames some tensors, and its
tables of conversions work backwards, too. That is done for one block at a time.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.run import Dtype
from surgeon_engine.base.errors import ExportError
from surgeon_engine.compaction.slices import TensorSlice
from surgeon_engine.model.experts import experts_of
from surgeon_engine.model.layers import blocks_path
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.planning.constants import TENSOR_ENTRY
from surgeon_engine.planning.file_form import number_format
from surgeon_engine.runtime import devices

# The names of number formats in safetensors files.
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_PLAIN_NAMES = {"weight", "bias"}
_ALIGNED = 8  # bytes; the length of a header is a multiple
_GIGABYTE = 1_000_000_000


def named_dtype(requested: FileDtype, loaded: LoadedModel) -> FileDtype:
    """Resolve the dtype of an exported file."""
    stored = "" if loaded.stored is None else devices.name_of(loaded.stored)
    computed = devices.name_of(loaded.model.dtype)
    return number_format(requested, computed, stored)


def file_dtype(requested: FileDtype, loaded: LoadedModel) -> torch.dtype:
    """Resolve the torch dtype of floating-point tensors in safetensors files."""
    return devices.dtype_of(Dtype(named_dtype(requested, loaded)))


@dataclass(frozen=True, slots=True, eq=False)
class FilePart:
    """Tensors of a model that are converted together: one block, or all others.

    `stock` is a model without weights of the size of the file, whose class says which
    names and forms published checkpoints have; None: the same as in the model.
    """

    slices: Mapping[str, TensorSlice]
    dtype: torch.dtype  # for floating-point tensors
    stored: Mapping[str, torch.dtype]  # in the original's files, by name there
    keeps_stored: bool  # the tensors have these dtypes, where they are known
    # Matches the names of tensors that stay in float32.
    long: re.Pattern[str]
    stock: PreTrainedModel | None = None

    def empty(self) -> dict[str, Tensor]:
        """Return each tensor of the file without its numbers, by its name there."""
        empty = {
            name: torch.empty(each.shape, dtype=each.whole.dtype, device="meta")
            for name, each in self.slices.items()
        }
        found = self._published(empty)
        return {
            name: x.to(self._dtype(name)) if x.is_floating_point() else x
            for name, x in found.items()
        }

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each tensor with its name in the file.

        Raises:
            ExportError: A weight is too large for its dtype.
        """
        whole = {name: each.tensor() for name, each in self.slices.items()}
        for name, tensor in self._published(whole).items():
            yield name, cast(name, tensor, self._dtype(name)).contiguous()

    def _dtype(self, name: str) -> torch.dtype:
        stored = self.stored.get(name)
        if stored is not None and self.keeps_stored:
            return stored
        is_long = self.long.search(name) and stored in (None, torch.float32)
        return torch.float32 if is_long else self.dtype

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
    in float32 beside a language model in bfloat16 stays as it is. A few tensors are in
    float32 in all files, unless the original's files have rounded them.
    """
    dtype, stored = file_dtype(requested, loaded), loaded.stored_dtypes
    is_exact = requested is FileDtype.SAME and loaded.model.dtype == torch.float32
    long = _in_float32(loaded.model)
    prefix = f"{blocks_path(loaded.model)}."
    parts: dict[str, dict[str, TensorSlice]] = {"": {}}
    for name, each in slices.items():
        is_inside = name.startswith(prefix)
        block = name.removeprefix(prefix).partition(".")[0] if is_inside else ""
        parts.setdefault(block, {})[name] = each
    return [
        FilePart(tensors, dtype, stored, is_exact and not block, long, stock)
        for block, tensors in parts.items()
    ]


def _in_float32(model: PreTrainedModel) -> re.Pattern[str]:
    """Return a pattern for the names of tensors that 16 bits are too short for.

    They are tensors that transformers always loads in float32, and corrections of the
    scores of experts: rounding these lets routers choose other experts.
    """
    found = set(model._keep_in_fp32_modules_strict or ())
    for experts in experts_of(model):
        beside = (x.name for x in experts.tensors if x.module != experts.module)
        found |= {name.rpartition(".")[2] for name in beside} - _PLAIN_NAMES
    names = "|".join(map(re.escape, sorted(found))) or "(?!)"
    return re.compile(rf"(?:^|\.)(?:{names})(?:\.|$)")


def bytes_of(parts: Iterable[FilePart]) -> int:
    """Return the total size of the files, headers included."""
    empty = (x for part in parts for x in part.empty().values())
    return sum(x.nbytes + TENSOR_ENTRY for x in empty)


def write_weights(
    parts: Sequence[FilePart], shard_gigabytes: float, folder: Path
) -> None:
    """Write tensors into `folder`, with at most `shard_gigabytes` in each file.

    The tensors of one part are in memory at a time.

    Raises:
        ExportError: A weight is too large for its dtype.
    """
    empty = {name: x for part in parts for name, x in part.empty().items()}
    sizes = {name: x.nbytes for name, x in empty.items()}
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
        some = islice(tensors, len(shard))
        _write_file(folder / name, {x: empty[x] for x in shard}, some)


def _write_file(
    path: Path, empty: Mapping[str, Tensor], tensors: Iterable[tuple[str, Tensor]]
) -> None:
    """Write a safetensors file, each tensor when it is there.

    The library writes all tensors of a file at once, from memory. `empty` are the
    tensors without their numbers, by name.
    """
    # As the library does: wide numbers first, so that all are aligned.
    order = sorted(empty, key=lambda name: (-empty[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        x, start = empty[name], end
        end += x.nbytes
        header[name] = {
            "dtype": _NAMES[x.dtype],
            "shape": list(x.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        first = file.tell()
        for name, tensor in tensors:
            file.seek(first + header[name]["data_offsets"][0])
            file.write(tensor.flatten().view(torch.uint8).numpy().data)


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
