"""Writes tensors as safetensors, in shards, one shard in memory at a time.

The names are those that transformers expects: `model.safetensors`, or shards with an
index beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.errors import ExportError
from surgeon_engine.api.planning.target_size import number_format
from surgeon_engine.compaction.shrink import TensorSlice
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.runtime import devices

DTYPES = {
    FileDtype.FLOAT32: torch.float32,
    FileDtype.BFLOAT16: torch.bfloat16,
    FileDtype.FLOAT16: torch.float16,
}
_GIGABYTE = 1_000_000_000
_HEADER = 110  # bytes a tensor takes in a file's header, by and large


def named_dtype(form: Format, wanted: FileDtype, loaded: LoadedModel) -> FileDtype:
    """The number format of a file of the kind `form`, by its name."""
    stored = "" if loaded.stored is None else devices.name_of(loaded.stored)
    return number_format(form, wanted, devices.name_of(loaded.model.dtype), stored)


def file_dtype(wanted: FileDtype, loaded: LoadedModel) -> torch.dtype:
    """The number format that floats are written in as safetensors."""
    return DTYPES[named_dtype(Format.MASKED, wanted, loaded)]


def bytes_of(pieces: Mapping[str, TensorSlice], dtype: torch.dtype) -> int:
    """How much the files will take."""
    return sum(_bytes(piece, dtype) + _HEADER for piece in pieces.values())


def write_weights(
    pieces: Mapping[str, TensorSlice], dtype: torch.dtype, most: float, folder: Path
) -> None:
    """Write `pieces` into `folder`, at most `most` gigabytes to a file.

    Raises:
        ExportError: a number is too large for `dtype`.
    """
    shards = _shards(pieces, dtype, most * _GIGABYTE)
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [
            f"model-{i:05}-of-{len(shards):05}.safetensors"
            for i in range(1, len(shards) + 1)
        ]
        index = {
            "metadata": {"total_size": sum(_bytes(p, dtype) for p in pieces.values())},
            "weight_map": {
                tensor: name
                for name, shard in zip(names, shards, strict=True)
                for tensor in shard
            },
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    for name, shard in zip(names, shards, strict=True):
        tensors = {key: cast(key, pieces[key].tensor(), dtype) for key in shard}
        save_file(tensors, folder / name, metadata={"format": "pt"})


def cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` in `dtype`, where it is of floats.

    Raises:
        ExportError: a number is too large for it.
    """
    if not tensor.is_floating_point() or tensor.dtype == dtype:
        return tensor
    result = tensor.to(dtype)
    if bool((result.isinf() & tensor.isfinite()).any()):
        largest, most = float(tensor.abs().max()), torch.finfo(dtype).max
        format_name = devices.name_of(dtype)
        raise ExportError(
            f"{name} holds a weight of {largest:,.0f}, but {format_name} ends at "
            f"{most:,.0f}.",
            "Choose bfloat16 or float32.",
        )
    return result


def _shards(
    pieces: Mapping[str, TensorSlice], dtype: torch.dtype, most: float
) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, piece in pieces.items():
        more = _bytes(piece, dtype)
        if shards[-1] and size + more > most:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += more
    return shards


def _bytes(piece: TensorSlice, dtype: torch.dtype) -> int:
    is_float = piece.whole.is_floating_point()
    each = dtype.itemsize if is_float else piece.whole.element_size()
    return torch.Size(piece.shape).numel() * each
