"""Write tensors as safetensors, one shard at a time.

The files have the names that transformers expects: `model.safetensors`, or shards with
an index.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

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


def tensor_dtypes(
    names: Iterable[str], requested: FileDtype, loaded: LoadedModel
) -> dict[str, torch.dtype]:
    """Resolve the torch dtype of each floating-point tensor.

    With SAME, tensors outside the decoder blocks keep the dtype that they have in the
    original's files, as long as float32 has held their values exactly: a vision tower
    in float32 beside a language model in bfloat16 stays as it is.
    """
    dtype = file_dtype(requested, loaded)
    own: Mapping[str, torch.dtype] = {}
    if requested is FileDtype.SAME and loaded.model.dtype == torch.float32:
        own = loaded.stored_dtypes
    blocks = f"{blocks_path(loaded.model)}."
    return {
        name: dtype if name.startswith(blocks) else own.get(name, dtype)
        for name in names
    }


def bytes_of(
    slices: Mapping[str, TensorSlice], dtypes: Mapping[str, torch.dtype]
) -> int:
    """Return the total size of the files, headers included."""
    return sum(_bytes(x, dtypes[name]) + TENSOR_ENTRY for name, x in slices.items())


def write_weights(
    slices: Mapping[str, TensorSlice],
    dtypes: Mapping[str, torch.dtype],
    shard_gigabytes: float,
    folder: Path,
) -> None:
    """Write tensors into `folder`, with at most `shard_gigabytes` in each file.

    Raises:
        ExportError: A weight is too large for its dtype.
    """
    shards = _shards(slices, dtypes, shard_gigabytes * _GIGABYTE)
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [
            f"model-{i:05}-of-{len(shards):05}.safetensors"
            for i in range(1, len(shards) + 1)
        ]
        total = sum(_bytes(each, dtypes[name]) for name, each in slices.items())
        index = {
            "metadata": {"total_size": total},
            "weight_map": {
                tensor: name
                for name, shard in zip(names, shards, strict=True)
                for tensor in shard
            },
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    for name, shard in zip(names, shards, strict=True):
        tensors = {key: cast(key, slices[key].tensor(), dtypes[key]) for key in shard}
        save_file(tensors, folder / name, metadata={"format": "pt"})


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


def _shards(
    slices: Mapping[str, TensorSlice],
    dtypes: Mapping[str, torch.dtype],
    max_bytes: float,
) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    total = 0
    for name, each in slices.items():
        size = _bytes(each, dtypes[name])
        if shards[-1] and total + size > max_bytes:
            shards.append([])
            total = 0
        shards[-1].append(name)
        total += size
    return shards


def _bytes(each: TensorSlice, dtype: torch.dtype) -> int:
    is_float = each.whole.is_floating_point()
    item_size = dtype.itemsize if is_float else each.whole.element_size()
    return torch.Size(each.shape).numel() * item_size
