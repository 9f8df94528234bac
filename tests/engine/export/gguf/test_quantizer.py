"""Matrices are rounded by llama.cpp's quantizers, with errors fed forward."""

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from torch import Tensor

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.base.errors import ExportError
from surgeon_engine.export.gguf import error_feedback, quantizer
from surgeon_engine.export.gguf.error_feedback import (
    SUPPORTED,
    best_rounding,
    inverse_factor,
    output_error,
    round_with_feedback,
)
from surgeon_engine.export.gguf.quantizer import dequantize, quantize
from surgeon_engine.planning.gguf_types import BLOCKS, TensorType
from surgeon_engine.runtime.linalg import damped
from tests.helpers.gguf_files import needs_llama

# MXFP4 is rounded by code of its own.
KINDS = tuple(
    kind
    for kind, block in BLOCKS.items()
    if block.numbers > 1 and kind is not TensorType.MXFP4
)


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


@pytest.mark.slow
@needs_llama
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_blocks_are_those_of_llama_cpp(kind, is_weighted):
    W = matrix(300, 512)
    importances = np.abs(matrix(1, 512))[0] ** 2 if is_weighted else None
    found = quantize(W, kind, importances)
    np.testing.assert_array_equal(found, by_ggml(W, kind, importances))
    error = np.abs(dequantize(found, kind) - W).mean()
    assert error < 0.12


def mxfp4_numbers(rows: int, columns: int) -> np.ndarray:
    """Return numbers that are MXFP4: some blocks are zero or lack the large numbers."""
    rng = np.random.default_rng(0)
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    most = rng.integers(0, 9, (rows, columns // 32, 1))
    codes = np.minimum(rng.integers(0, 8, (rows, columns // 32, 32)), most)
    signs = rng.choice([-1, 1], codes.shape)
    scales = np.exp2(rng.integers(-30, 10, most.shape))
    return (values[codes] * signs * scales).reshape(rows, columns).astype(np.float32)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_numbers_that_were_mxfp4_come_back_exactly(is_weighted):
    W = mxfp4_numbers(60, 512)
    weights = np.abs(matrix(1, 512))[0] if is_weighted else None
    found = dequantize(quantize(W, TensorType.MXFP4, weights), TensorType.MXFP4)
    np.testing.assert_array_equal(found, W)


def test_mxfp4_takes_the_nearest_numbers_and_the_better_scale():
    W, weights = matrix(100, 512), matrix(1, 512)[0] ** 2
    theirs = quants.quantize(W, GGMLQuantizationType.MXFP4)
    values = [x * y for x in (0, 0.5, 1, 1.5, 2, 3, 4, 6) for y in (1, -1)]

    def squares(blocks: np.ndarray, by: np.ndarray | float = 1.0) -> np.ndarray:
        E = dequantize(blocks, TensorType.MXFP4) - W
        return (by * E**2).reshape(-1, 32).sum(axis=1)

    for by in (None, weights):
        ours = quantize(W, TensorType.MXFP4, by)
        scale = np.exp2(ours[:, ::17].astype(np.float32) - 127).reshape(-1, 1, 1)
        distances = np.abs(W.reshape(-1, 32, 1) - scale * np.float32(values))
        found = squares(ours)
        np.testing.assert_allclose(
            found, (distances.min(axis=2) ** 2).sum(axis=1), 1e-5
        )
        by = 1.0 if by is None else by
        assert (squares(ours, by) <= squares(theirs, by) * 1.00001).all()
        assert squares(ours, by).sum() < 0.97 * squares(theirs, by).sum()


@pytest.mark.parametrize("kind", [TensorType.MXFP4, TensorType.Q4_0])
def test_importances_of_other_columns_are_refused(kind):
    with pytest.raises(ValueError, match=r"shape \(96,\) for 64 columns"):
        quantize(matrix(3, 64), kind, np.ones(96, np.float32))


@needs_llama
def test_importances_lower_the_weighted_error():
    W = matrix(64, 256)
    importances = np.geomspace(1e-3, 1e3, 256).astype(np.float32)
    importances = np.random.default_rng(1).permutation(importances)
    errors = []
    for weights in (None, importances):
        blocks = quantize(W, TensorType.Q4_K, weights)
        found = dequantize(blocks, TensorType.Q4_K)
        errors.append(float(((found - W) ** 2 * importances).mean()))
    assert errors[1] < 0.8 * errors[0]


@pytest.fixture
def unknown_library():
    quantizer._library.cache_clear()
    yield
    quantizer._library.cache_clear()


def test_missing_package_is_named(unknown_library, monkeypatch):
    monkeypatch.setattr(quantizer, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match="not installed") as error:
        quantize(matrix(1, 32), TensorType.Q4_0)
    assert error.value.hint == "Install it: pip install xllamacpp"
    with pytest.raises(ExportError, match="not installed"):
        quantizer.check_installed(FileDtype.IQ4_NL)
    for dtype in (FileDtype.Q8_0, FileDtype.FLOAT16):
        quantizer.check_installed(dtype)


def test_package_without_the_function_is_named(unknown_library, monkeypatch, tmp_path):
    package = tmp_path / "xllamacpp"
    package.mkdir()
    for name in ("__init__.py", "broken.so"):
        (package / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    with pytest.raises(ExportError, match="no function ggml_quantize_chunk"):
        quantizer.check_installed(FileDtype.Q4_K_M)


def test_q8_0_needs_no_library(unknown_library, monkeypatch):
    monkeypatch.setattr(quantizer, "find_spec", lambda name: None)
    assert quantize(matrix(2, 64), TensorType.Q8_0).shape == (2, 68)


@needs_llama
@pytest.mark.parametrize("kind", [TensorType.Q8_0, TensorType.MXFP4, TensorType.Q4_0])
def test_matrix_without_rows_has_no_blocks(kind):
    assert quantize(matrix(0, 64), kind).shape == (0, 2 * BLOCKS[kind].bytes)


def example(seed: int, rows: int = 24, columns: int = 96) -> tuple[Tensor, Tensor]:
    """Return W, and A of correlated inputs of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(400, columns, generator=generator)
    X = X @ torch.randn(columns, columns, generator=generator)
    X *= 4 * torch.rand(columns, generator=generator)
    return torch.randn(rows, columns, generator=generator), X.T @ X / len(X)


def rounded(W: Tensor, A: Tensor, kind: TensorType) -> Tensor:
    U, importances = inverse_factor(A), A.diagonal().numpy()
    blocks = round_with_feedback(W, U, kind, importances)
    return torch.from_numpy(dequantize(blocks, kind))


def by_definition(W: Tensor, A: Tensor, kind: TensorType) -> Tensor:
    """Round column after column; the rest minimizes the error of the damped A."""
    importances = A.diagonal().numpy()
    A, W = damped(A, 0.1), W.clone()
    Q = torch.empty_like(W)
    for c in range(W.shape[1]):
        if c % 32 == 0:
            block = W[:, c : c + 32].float().contiguous().numpy()
            blocks = quantize(block, kind, importances[c : c + 32])
            d = scales_of(blocks, kind)
        levels = d * np.array(values_of(kind), np.float64)
        distance = np.abs(W[:, c].numpy()[:, None] - levels)
        nearest = distance.argmin(axis=1)[:, None]
        Q[:, c] = torch.from_numpy(np.take_along_axis(levels, nearest, axis=1)[:, 0])
        rest = slice(c + 1, None)
        step = torch.linalg.solve(A[rest, rest], A[rest, c])
        W[:, rest] += torch.outer(W[:, c] - Q[:, c], step)
    return Q.float()


def scales_of(blocks: np.ndarray, kind: TensorType) -> np.ndarray:
    """Return the scale at the beginning of each block: ... x 1."""
    if kind is TensorType.MXFP4:
        return np.exp2(blocks[..., :1].astype(np.float64) - 127)
    return blocks[..., :2].copy().view(np.float16).astype(np.float64)


def values_of(kind: TensorType) -> list[float]:
    """Return the numbers of a type, read from a file's point of view."""
    if kind is TensorType.Q8_0:
        return list(range(-127, 128))
    codes = np.arange(16, dtype=np.uint8)
    scale = np.array([1], np.float16).view(np.uint8)
    if kind is TensorType.MXFP4:
        scale = np.array([127], np.uint8)
    block = np.concatenate([scale, codes])
    return sorted(dequantize(block[None], kind)[0, :16].tolist())


@needs_llama
@pytest.mark.parametrize("kind", SUPPORTED)
def test_matrix_is_rounded_as_the_definition_says(kind):
    W, A = (x.double() for x in example(0))  # rounding turns small differences to steps
    found, expected = rounded(W, A, kind), by_definition(W, A, kind)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [TensorType.Q8_0, TensorType.MXFP4])
def test_several_matrices_are_rounded_as_each_is(kind):
    W, A = zip(*map(example, (0, 1, 2)), strict=True)
    U, importances = [inverse_factor(x) for x in A], [x.diagonal().numpy() for x in A]
    found = round_with_feedback(
        torch.stack(W), torch.stack(U), kind, np.stack(importances)
    )
    for n, blocks in enumerate(found):
        alone = round_with_feedback(W[n], U[n], kind, importances[n])
        np.testing.assert_array_equal(blocks, alone)


def test_some_rows_tell_which_rounding_is_best(monkeypatch):
    monkeypatch.setattr(error_feedback, "_COMPARED_ROWS", 4)
    kind, (W, A) = TensorType.MXFP4, example(1, rows=64)
    importances = A.diagonal().numpy()
    fed = round_with_feedback(W, inverse_factor(A), kind, importances)
    zeros = quantize(np.zeros_like(W), kind)
    is_compared = np.arange(64)[:, None] % 16 == 0
    for found in (fed, np.where(is_compared, fed, zeros)):
        assert best_rounding(W, found, A, kind, importances) is found

    def error(blocks: np.ndarray) -> float:
        Q = torch.from_numpy(dequantize(blocks, kind))
        return output_error(W[::16], Q[::16], A)

    others = [quantize(W.numpy(), kind, x) for x in (None, importances)]
    found = best_rounding(W, np.where(is_compared, zeros, fed), A, kind, importances)
    np.testing.assert_array_equal(found, min(others, key=error))


def test_feedback_keeps_numbers_that_were_mxfp4():
    W, (_, A) = mxfp4_numbers(24, 96), example(0)
    kind, importances = TensorType.MXFP4, A.diagonal().numpy()
    found = round_with_feedback(torch.tensor(W), inverse_factor(A), kind, importances)
    np.testing.assert_array_equal(dequantize(found, kind), W)


@needs_llama
def test_zeros_and_inputs_that_are_always_zero_stay_finite():
    W, A = example(3)
    W[:, 32:64] = 0
    A[64:], A[:, 64:] = 0, 0
    Q = rounded(W, A, TensorType.Q4_0)
    assert torch.isfinite(Q).all()
    plain = dequantize(quantize(W.numpy(), TensorType.Q4_0), TensorType.Q4_0)
    assert output_error(W, Q, A) < output_error(W, torch.from_numpy(plain), A)


def test_output_error_is_that_of_the_inputs():
    W, _ = example(4, columns=32)
    X = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    Q = W.round()
    expected = ((X @ (W - Q).T) ** 2).sum() / len(X)
    found = output_error(W, Q, X.T @ X / len(X))
    assert found == pytest.approx(float(expected), rel=1e-5)
