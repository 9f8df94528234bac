"""Round matrices to the types of GGUF, by the quantizers of llama.cpp.

They are functions of its library, which the package xllamacpp contains; `mxfp4.py` does
without. Importances say how much the rounding of each column matters: the quantizers
choose the scale of each block so that the sum of squared errors, weighted by them,
becomes small.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, quants

from surgeon_engine.api.config.export import LLAMA_PACKAGE, QUANTIZED, FileDtype
from surgeon_engine.base.errors import ExportError
from surgeon_engine.export.gguf.mxfp4 import to_mxfp4
from surgeon_engine.planning.gguf_types import BLOCKS, TensorType

_FUNCTION = "ggml_quantize_chunk"
_THREADS = os.cpu_count() or 1
_Float = np.float32


def quantize(
    W: np.ndarray, kind: TensorType, importances: np.ndarray | None = None
) -> np.ndarray:
    """Return the blocks of W as bytes: R x bytes of a row.

    Args:
        W: R x C, or several such matrices; finite, rows of whole blocks.
        kind: a type that llama.cpp quantizes to.
        importances: C, positive; None: all columns matter equally.

    Raises:
        ExportError: llama.cpp's library is not installed.
        ValueError: the importances are not as many as the columns.
    """
    if importances is not None and importances.shape != W.shape[-1:]:
        given, columns = importances.shape, W.shape[-1]
        raise ValueError(f"importances of shape {given} for {columns} columns")
    if kind is TensorType.Q8_0:  # the same bytes as llama.cpp's, without its library
        return quants.quantize(W, GGMLQuantizationType.Q8_0)
    if kind is TensorType.MXFP4:
        return to_mxfp4(W, importances)
    function = _library()
    block = BLOCKS[kind]
    shape = W.shape
    W = W.reshape(-1, shape[-1])
    rows, columns = W.shape
    W = np.ascontiguousarray(W, _Float)
    result = np.empty((rows, columns // block.numbers * block.bytes), np.uint8)
    weights = None
    if importances is not None:
        importances = np.ascontiguousarray(importances, _Float)
        weights = importances.ctypes.data

    def work(first: int, stop: int) -> None:
        part, target = W[first:stop], result[first:]
        number = int(GGMLQuantizationType[kind])
        pointers = part.ctypes.data, target.ctypes.data
        function(number, *pointers, 0, len(part), columns, weights)

    parts = max(1, min(_THREADS, rows))
    borders = [rows * part // parts for part in range(parts + 1)]
    list(_threads().map(work, borders, borders[1:]))
    return result.reshape(*shape[:-1], result.shape[-1])


def dequantize(blocks: np.ndarray, kind: TensorType) -> np.ndarray:
    """Return the numbers that blocks stand for, R x C, float32."""
    return quants.dequantize(blocks, GGMLQuantizationType[kind])


def check_installed(dtype: FileDtype) -> None:
    """Check that weights can be rounded to a number format here.

    Raises:
        ExportError: It needs llama.cpp's library, which is not installed.
    """
    if dtype in QUANTIZED and dtype not in (FileDtype.Q8_0, FileDtype.MXFP4_MOE):
        _library()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS)


@cache
def _library() -> Callable[..., int]:
    """Return llama.cpp's function that quantizes rows."""
    spec = find_spec(LLAMA_PACKAGE)
    if spec is None or spec.origin is None:
        raise ExportError(
            "Quantized GGUF files need the package {package}, which contains "
            "llama.cpp's quantizers. It is not installed.",
            "Install it: pip install {package}",
            package=LLAMA_PACKAGE,
        )
    for path in sorted(Path(spec.origin).parent.iterdir()):
        if path.suffix in (".so", ".dylib", ".dll", ".pyd"):
            try:
                function = getattr(ctypes.CDLL(str(path)), _FUNCTION)
            except (OSError, AttributeError):
                continue
            function.restype = ctypes.c_size_t
            function.argtypes = [
                ctypes.c_int,
                *[ctypes.c_void_p] * 2,
                *[ctypes.c_int64] * 3,
                ctypes.c_void_p,
            ]
            return function
    raise ExportError(
        "The installed package {package} has no function {function}, which "
        "quantized GGUF files need.",
        "Install another version: pip install --upgrade {package}",
        package=LLAMA_PACKAGE,
        function=_FUNCTION,
    )
