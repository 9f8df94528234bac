"""Tensors in temporary files, which the system reads and writes as memory allows."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from surgeon_engine.base.files import temporary_folder


class MappedTensors:
    """Makes memory-mapped tensors, each with a file in a temporary folder.

    The folder is removed by `close`, or when nothing refers to this object any more;
    its tensors may be used on.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._numbers = count()

    def zeros(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Return a tensor of zeros, whose file takes no room until it is written."""
        if self._folder is None:
            self._folder = temporary_folder()
            weakref.finalize(self, self._folder.cleanup)
        file = Path(self._folder.name, str(next(self._numbers)))
        count = shape.numel()
        flat = torch.from_file(str(file), shared=True, size=max(1, count), dtype=dtype)
        return flat[:count].view(shape)

    def keep(self, x: Tensor) -> Tensor:
        """Return a copy of a tensor in a file."""
        kept = self.zeros(x.shape, x.dtype)
        kept.copy_(x)
        return kept

    def drop(self, x: Tensor) -> None:
        """Delete the file of a tensor that is no longer needed, if it has one here."""
        if self.holds(x):
            with contextlib.suppress(OSError):  # Windows keeps mapped files
                Path(str(x.untyped_storage().filename)).unlink()

    def holds(self, x: Tensor) -> bool:
        """Return whether a tensor is in one of the files."""
        file = x.untyped_storage().filename
        return (
            self._folder is not None
            and file is not None
            and Path(file).parent == Path(self._folder.name)
        )

    def close(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def read_ahead(tensors: Iterable[Tensor]) -> None:
    """Ask the system to read the files of mapped tensors while other work goes on.

    Windows is not asked.
    """
    if sys.platform == "win32":
        return
    for x in tensors:
        start = x.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
        size = x.data_ptr() + x.nbytes - start
        _madvise()(start, size, mmap.MADV_WILLNEED)


@cache
def _madvise() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    function.restype = ctypes.c_int
    return function
