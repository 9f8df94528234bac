"""Read the header of a safetensors file: 8 bytes with its length, then JSON."""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from collections import Counter
from pathlib import Path

from surgeon_engine.api.model_info.gguf_header import open_model
from surgeon_engine.api.model_info.quantization import Quantization
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say

_MAX_HEADER = 100_000_000  # bytes; the maximum of the format
_MAX_AXES, _MAX_WIDTH = 8, 1 << 40  # of a tensor
_NOT_A_HEADER = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def check_is_file(path: Path) -> None:
    """Check that a path is a file: opening a named pipe or a device may never end.

    Raises:
        ModelError: It is something else, or a link that leads nowhere.
    """
    hint = say("Download this file again.")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        name, reason = path.name, error.strerror
        raise ModelError(
            say("{path} is a link that leads nowhere: {why}.", path=name, why=reason)
            if path.is_symlink()
            else say("{path} is missing: {reason:clause}.", path=name, reason=reason),
            hint,
        ) from error
    if not stat.S_ISREG(mode):
        raise ModelError(say("{path} is not a file.", path=path.name), hint)


def count_numbers(path: Path, how: Quantization | None = None) -> Counter[str]:
    """Count the numbers of each format in a safetensors file.

    Args:
        path: of the file.
        how: how the weights are quantized; each then counts as one number, in
            whatever tensors it is stored.

    Raises:
        ModelError: The header is damaged, or does not match the size of the file.
    """
    counts: Counter[str] = Counter()
    for name, (dtype, size) in read_tensors(path).items():
        counts[dtype] += size if how is None else how.numbers(name, dtype, size)
    return counts


def read_tensors(path: Path) -> dict[str, tuple[str, int]]:
    """Return the number format and the number of numbers of each tensor, by name.

    Raises:
        ModelError: The header is damaged, or does not match the size of the file.
    """
    with open_model(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size, _MAX_HEADER):
            raise _damaged_error(path, size)
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            tensors: dict[str, tuple[str, int]] = {}
            end = 0
            for name, entry in header.items():
                tensors[name] = str(entry["dtype"]), _size_of(entry["shape"])
                end = max(end, entry["data_offsets"][1])
        except _NOT_A_HEADER as error:
            raise _damaged_error(path, size) from error
    if 8 + length + end != size:
        raise _damaged_error(path, size)
    return tensors


def _size_of(shape: list[int]) -> int:
    """Return how many numbers a tensor has.

    Raises:
        ValueError: It is no shape, or an absurd one.
    """
    is_shape = len(shape) <= _MAX_AXES and all(type(n) is int for n in shape)
    if not is_shape or not all(0 <= n < _MAX_WIDTH for n in shape):
        raise ValueError(shape)
    return math.prod(shape)


def _damaged_error(path: Path, size: int) -> ModelError:
    return ModelError(
        say(
            "{path} is damaged ({size:,} bytes): its header does not match its size.",
            path=path.name,
            size=size,
        ),
        say("The download may be incomplete: download this file again."),
    )
