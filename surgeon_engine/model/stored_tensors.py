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
    counts = _numbers(source)
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
        return MXFP4.label in _numbers(source)
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

    For quantized files, it is the number that they have room for.
    """
    if source.quantization:
        size = sum(path.stat().st_size for path in source.weight_files)
        return size * 8 // source.quantization.bits
    if own := own_reading(source):
        return own.numbers
    return _numbers(source).total()


def _numbers(source: ModelSource) -> Counter[str]:
    """Return how many numbers the weight files hold of each number format."""
    if not source.gguf_file:
        return sum(map(count_numbers, source.weight_files), Counter[str]())
    counts = Counter[str]()
    for tensor in gguf.GGUFReader(source.weight_files[0]).tensors:
        counts[tensor.tensor_type.name] += int(tensor.n_elements)
    return counts
