"""The number formats and sizes of the tensors in the files of a model."""

from __future__ import annotations

from collections import Counter

import gguf
import torch

from surgeon_engine.api.model_info.files import count_numbers, read_tensors
from surgeon_engine.api.model_info.quantization import MXFP4
from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.source import ModelSource, own_reading

_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def stored_dtype(source: ModelSource) -> torch.dtype | None:
    """Return the number format of most weights in the files; None: quantized.

    It is read from the headers, because configs often lack it or state the format of
    the training.
    """
    if source.quantization:
        return None
    if source.gguf_file:
        types = Counter[str]()
        for tensor in gguf.GGUFReader(source.weight_files[0]).tensors:
            types[tensor.tensor_type.name] += int(tensor.n_elements)
        return _STORED.get(max(types, key=types.__getitem__, default=""))
    counts = sum(map(count_numbers, source.weight_files), Counter[str]())
    if not counts:
        raise ModelError(
            "The weights of {source} hold no tensors.",
            "The download may be incomplete: download the files again.",
            source=source.name,
        )
    ((most_common, _),) = counts.most_common(1)
    return _STORED.get(most_common)


def has_mxfp4(source: ModelSource) -> bool:
    """Return whether weights in the files are MXFP4, in blocks of 32 numbers."""
    if source.gguf_file:
        tensors = gguf.GGUFReader(source.weight_files[0]).tensors
        return any(each.tensor_type.name == MXFP4.label for each in tensors)
    return source.quantization is not None and source.quantization.method is MXFP4


def stored_dtypes(source: ModelSource) -> dict[str, torch.dtype]:
    """Return the number format of each tensor in the files; empty: quantized."""
    if source.gguf_file or source.quantization:
        return {}
    return {
        name: _STORED[dtype]
        for path in source.weight_files
        for name, (dtype, _) in read_tensors(path).items()
        if dtype in _STORED
    }


def held_numbers(source: ModelSource) -> int:
    """Return how many numbers the weight files hold, according to their headers.

    Of quantized files, it is the number that they have room for.
    """
    if source.quantization:
        size = sum(path.stat().st_size for path in source.weight_files)
        return size * 8 // source.quantization.bits
    if own := own_reading(source):
        return own.numbers
    if source.gguf_file:
        tensors = gguf.GGUFReader(source.weight_files[0]).tensors
        return sum(int(tensor.n_elements) for tensor in tensors)
    return sum(count_numbers(path).total() for path in source.weight_files)
