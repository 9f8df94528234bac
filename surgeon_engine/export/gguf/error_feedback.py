"""Round a matrix column by column, and let later columns make up for the errors.

    W   R x C   the matrix, from which the output W a follows
    A   C x C   mean of a a' over tokens, the inputs
    Q   R x C   W rounded

The mean squared error of the output is tr((W - Q) A (W - Q)'). Once a column is
rounded, the best change of the columns behind it is known in closed form: with the
upper factor U of the inverse of A, A^-1 = U' U, an error e in column c is taken out of
column k > c in the amount e U[c, k] / U[c, c]. Columns go in order, in the blocks of
the file; the scale of a block is chosen when its first column is reached.

This is GPTQ (Frantar et al., arXiv 2210.17323) with the scales and steps of GGUF.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surgeon_engine.export.gguf.quantizer import quantize
from surgeon_engine.planning.gguf_types import TensorType
from surgeon_engine.runtime.linalg import cholesky, damped, inverse

_DAMPING = 0.1  # of the mean eigenvalue of A
_BLOCK = 32
_SCALE = 2  # bytes of the scale, a float16, at the beginning of each block


@dataclass(frozen=True, slots=True)
class _Steps:
    """The numbers of a type, for a scale of 1, in ascending order of their codes."""

    values: tuple[int, ...]
    first_code: int
    bits: int


_STEPS = {
    TensorType.Q8_0: _Steps(tuple(range(-127, 128)), -127, 8),
    TensorType.Q4_0: _Steps(tuple(range(-8, 8)), 0, 4),
    TensorType.IQ4_NL: _Steps(
        (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113), 0, 4
    ),
}
SUPPORTED = tuple(_STEPS)  # types with one scale for each block and no offset


def output_error(W: Tensor, Q: Tensor, A: Tensor) -> float:
    """Return tr((W - Q) A (W - Q)')."""
    E = W - Q
    return float((E @ A * E).sum())


def inverse_factor(A: Tensor) -> Tensor:
    """Return U, upper, with U' U the inverse of the damped A.

    Raises:
        CurvatureError: A is not positive definite, or not finite.
    """
    return cholesky(inverse(damped(A, _DAMPING))).T.contiguous()


def round_with_feedback(
    W: Tensor, U: Tensor, kind: TensorType, importances: np.ndarray
) -> np.ndarray:
    """Return the blocks of Q as bytes: R x bytes of a row.

    Args:
        W: R x C, float32.
        U: C x C, from `inverse_factor`.
        kind: one of `SUPPORTED`.
        importances: C, of the columns, by which scales are chosen.
    """
    steps = _STEPS[kind]
    values = torch.tensor(steps.values, dtype=W.dtype, device=W.device)
    borders = (values[1:] + values[:-1]) / 2
    W = W.clone()
    parts = []
    for first in range(0, W.shape[1], _BLOCK):
        columns = slice(first, first + _BLOCK)
        block = W[:, columns]
        scaled = quantize(block.cpu().numpy(), kind, importances[columns])
        scales = scaled[:, :_SCALE].copy()
        numbers = torch.from_numpy(scales.view(np.float16).astype(np.float32))
        d = numbers.squeeze(1).to(W.device)
        safe = torch.where(d == 0, 1.0, d)  # a block of zeros has no scale
        codes = torch.empty(block.shape, dtype=torch.int64, device=W.device)
        errors = torch.empty_like(block)
        for i in range(block.shape[1]):
            c = first + i
            w = W[:, c]
            code = torch.bucketize(w / safe, borders)
            errors[:, i] = (w - d * values[code]) / U[c, c]
            codes[:, i] = code
            rest = slice(c + 1, first + block.shape[1])
            W[:, rest] -= torch.outer(errors[:, i], U[c, rest])
        W[:, columns.stop :] -= errors @ U[columns, columns.stop :]
        parts.append(np.hstack([scales, _packed(codes, steps)]))
    return np.hstack(parts)


def _packed(codes: Tensor, steps: _Steps) -> np.ndarray:
    """Return the codes of a block as bytes; of 4 bits, two halves share the bytes."""
    numbers = codes.cpu().numpy() + steps.first_code
    if steps.bits == 8:
        return numbers.astype(np.int8).view(np.uint8)
    low, high = np.split(numbers.astype(np.uint8), 2, axis=1)
    return low | high << 4
