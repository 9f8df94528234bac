"""Rounding errors are fed forward as their definition says."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor

from surgeon_engine.export.gguf.error_feedback import (
    SUPPORTED,
    inverse_factor,
    output_error,
    round_with_feedback,
)
from surgeon_engine.export.gguf.quantiser import dequantise, quantise
from surgeon_engine.planning.gguf_types import TensorType
from surgeon_engine.runtime.linalg import damped

pytestmark = pytest.mark.skipif(not find_spec("xllamacpp"), reason="not installed")


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
    return torch.from_numpy(dequantise(blocks, kind))


def by_definition(W: Tensor, A: Tensor, kind: TensorType) -> Tensor:
    """Round column after column; the rest minimises the error of the damped A."""
    importances = A.diagonal().numpy()
    A, W = damped(A, 0.1), W.clone()
    Q = torch.empty_like(W)
    for c in range(W.shape[1]):
        if c % 32 == 0:
            block = W[:, c : c + 32].float().contiguous().numpy()
            blocks = quantise(block, kind, importances[c : c + 32])
            d = blocks[:, :2].copy().view(np.float16).astype(np.float64)
        levels = d * np.array(values_of(kind), np.float64)
        distance = np.abs(W[:, c].numpy()[:, None] - levels)
        nearest = distance.argmin(axis=1)[:, None]
        Q[:, c] = torch.from_numpy(np.take_along_axis(levels, nearest, axis=1)[:, 0])
        rest = slice(c + 1, None)
        step = torch.linalg.solve(A[rest, rest], A[rest, c])
        W[:, rest] += torch.outer(W[:, c] - Q[:, c], step)
    return Q.float()


def values_of(kind: TensorType) -> list[int]:
    """Return the numbers of a type, read from a file's point of view."""
    if kind is TensorType.Q8_0:
        return list(range(-127, 128))
    codes = np.arange(16, dtype=np.uint8)
    block = np.concatenate([np.array([1], np.float16).view(np.uint8), codes])
    return sorted(dequantise(block[None], kind)[0, :16].astype(int).tolist())


@pytest.mark.parametrize("kind", SUPPORTED)
def test_matrix_is_rounded_as_the_definition_says(kind):
    W, A = (x.double() for x in example(0))  # rounding turns small differences to steps
    found, expected = rounded(W, A, kind), by_definition(W, A, kind)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", SUPPORTED)
def test_error_of_the_output_is_much_smaller(kind):
    W, A = example(1, rows=64, columns=128)
    plain = torch.from_numpy(dequantise(quantise(W.numpy(), kind), kind))
    assert output_error(W, rounded(W, A, kind), A) < 0.7 * output_error(W, plain, A)


@pytest.mark.parametrize("kind", SUPPORTED)
def test_independent_inputs_are_rounded_one_by_one(kind):
    W, _ = example(2)
    A = torch.eye(W.shape[1])
    importances = np.ones(W.shape[1], np.float32)
    blocks = round_with_feedback(W, inverse_factor(A), kind, importances)
    d = blocks.reshape(len(W), 3, -1)[:, :, :2].copy().view(np.float16).astype(float)
    levels = d * np.array(values_of(kind), float)
    distance = np.abs(W.numpy().reshape(-1, 3, 32)[..., None] - levels[:, :, None])
    found = dequantise(blocks, kind).reshape(-1, 3, 32)
    error = np.abs(found - W.numpy().reshape(-1, 3, 32))
    np.testing.assert_allclose(error, distance.min(axis=-1), atol=1e-5)


def test_zeros_and_inputs_that_are_always_zero_stay_finite():
    W, A = example(3)
    W[:, 32:64] = 0
    A[64:], A[:, 64:] = 0, 0
    Q = rounded(W, A, TensorType.Q4_0)
    assert torch.isfinite(Q).all()
    plain = dequantise(quantise(W.numpy(), TensorType.Q4_0), TensorType.Q4_0)
    assert output_error(W, Q, A) < output_error(W, torch.from_numpy(plain), A)


def test_output_error_is_that_of_the_inputs():
    W, _ = example(4, columns=32)
    X = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    Q = W.round()
    expected = ((X @ (W - Q).T) ** 2).sum() / len(X)
    found = output_error(W, Q, X.T @ X / len(X))
    assert found == pytest.approx(float(expected), rel=1e-5)
