"""llama.cpp's quantisers round matrices; a missing library is reported."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.base.errors import ExportError
from surgeon_engine.export.gguf import quantiser
from surgeon_engine.planning.gguf_types import BLOCKS, TensorType

needs_library = pytest.mark.skipif(not find_spec("xllamacpp"), reason="not installed")
KINDS = tuple(kind for kind, block in BLOCKS.items() if block.numbers > 1)


def matrix(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


def by_ggml(W: np.ndarray, kind: TensorType, importances: np.ndarray | None):
    """Return the blocks by one call of the library."""
    (path,) = Path(find_spec("xllamacpp").origin).parent.glob("xllamacpp.*.so")
    number = GGMLQuantizationType[kind]
    length, size = GGML_QUANT_SIZES[number]
    result = np.zeros((len(W), W.shape[1] // length * size), np.uint8)
    function = ctypes.CDLL(str(path)).ggml_quantize_chunk
    pointer = ctypes.c_void_p
    function.argtypes = [
        ctypes.c_int, pointer, pointer, *[ctypes.c_int64] * 3, pointer,
    ]  # fmt: skip
    weights = None if importances is None else importances.ctypes.data
    arguments = W.ctypes.data, result.ctypes.data, 0, *W.shape, weights
    function(int(number), *arguments)
    return result


@needs_library
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_blocks_are_those_of_llama_cpp(kind, is_weighted):
    W = matrix(300, 512)
    importances = np.abs(matrix(1, 512))[0] ** 2 if is_weighted else None
    found = quantiser.quantise(W, kind, importances)
    np.testing.assert_array_equal(found, by_ggml(W, kind, importances))
    error = np.abs(quantiser.dequantise(found, kind) - W).mean()
    assert error < 0.12


@needs_library
def test_importances_lower_the_weighted_error():
    W = matrix(64, 256)
    importances = np.geomspace(1e-3, 1e3, 256).astype(np.float32)
    importances = np.random.default_rng(1).permutation(importances)
    errors = []
    for weights in (None, importances):
        blocks = quantiser.quantise(W, TensorType.Q4_K, weights)
        found = quantiser.dequantise(blocks, TensorType.Q4_K)
        errors.append(float(((found - W) ** 2 * importances).mean()))
    assert errors[1] < 0.8 * errors[0]


@pytest.fixture
def unknown_library():
    quantiser._library.cache_clear()
    yield
    quantiser._library.cache_clear()


def test_missing_package_is_named(unknown_library, monkeypatch):
    monkeypatch.setattr(quantiser, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match="not installed") as error:
        quantiser.quantise(matrix(1, 32), TensorType.Q4_0)
    assert error.value.hint == "Install it: pip install xllamacpp"
    with pytest.raises(ExportError, match="not installed"):
        quantiser.check_installed(FileDtype.IQ4_NL)
    for dtype in (FileDtype.Q8_0, FileDtype.FLOAT16):
        quantiser.check_installed(dtype)


def test_package_without_the_function_is_named(unknown_library, monkeypatch, tmp_path):
    package = tmp_path / "xllamacpp"
    package.mkdir()
    for name in ("__init__.py", "broken.so"):
        (package / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    with pytest.raises(ExportError, match="no function ggml_quantize_chunk"):
        quantiser.check_installed(FileDtype.Q4_K_M)


def test_q8_0_needs_no_library(unknown_library, monkeypatch):
    monkeypatch.setattr(quantiser, "find_spec", lambda name: None)
    assert quantiser.quantise(matrix(2, 64), TensorType.Q8_0).shape == (2, 68)
