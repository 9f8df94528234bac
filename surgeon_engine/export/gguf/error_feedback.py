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

from surgeon_engine.export.gguf.quantizer import dequantize, quantize
from surgeon_engine.planning.gguf_types import TensorType
from surgeon_engine.runtime.linalg import cholesky, damped, inverse

_DAMPING = 0.1  # relative to the mean eigenvalue of A
_EXPONENT_BIAS = 127
_BLOCK = 32
_COMPARED_ROWS = 96  # per matrix, at least


@dataclass(frozen=True, slots=True)
class _Steps:
    """The numbers of a type, for a scale of 1, in ascending order, with their codes."""

    values: tuple[float, ...]
    codes: tuple[int, ...]
    bits: int
    scale_bytes: int = 2  # at the beginning of each block: a float16, or an exponent

    def scales(self, stored: np.ndarray) -> np.ndarray:
        """Return the scales that are stored as bytes.  ... x bytes -> ... x 1."""
        if self.scale_bytes == 1:
            return np.exp2(stored.astype(np.float32) - _EXPONENT_BIAS)
        return stored.view(np.float16).astype(np.float32)


_STEPS = {
    TensorType.Q8_0: _Steps(tuple(range(-127, 128)), tuple(range(-127, 128)), 8),
    TensorType.Q4_0: _Steps(tuple(range(-8, 8)), tuple(range(16)), 4),
    TensorType.IQ4_NL: _Steps(
        (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113),
        tuple(range(16)),
        4,
    ),
    TensorType.MXFP4: _Steps(
        (-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6),
        (15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7),
        4,
        scale_bytes=1,
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
        W: R x C, float32; or E such matrices.
        U: C x C, from `inverse_factor`; or one for each matrix.
        kind: one of `SUPPORTED`.
        importances: C, of the columns, by which scales are chosen; or E x C.
    """
    steps = _STEPS[kind]
    values = torch.tensor(steps.values, dtype=W.dtype, device=W.device)
    borders = (values[1:] + values[:-1]) / 2
    W = W.clone()
    parts = []
    for first in range(0, W.shape[-1], _BLOCK):
        columns = slice(first, first + _BLOCK)
        block = W[..., columns]
        scales = _scales(block.cpu().numpy(), kind, importances[..., columns])
        d = torch.from_numpy(steps.scales(scales)).squeeze(-1).to(W.device)
        safe = torch.where(d == 0, 1.0, d)  # a block of zeros has no scale
        codes = torch.empty(block.shape, dtype=torch.int64, device=W.device)
        errors = torch.empty_like(block)
        for i in range(block.shape[-1]):
            c = first + i
            w = W[..., c]
            code = torch.bucketize(w / safe, borders)
            error = (w - d * values[code]) / U[..., c, c, None]
            errors[..., i], codes[..., i] = error, code
            rest = slice(c + 1, first + block.shape[-1])
            W[..., rest] -= error[..., None] * U[..., c, None, rest]
        W[..., columns.stop :] -= errors @ U[..., columns, columns.stop :]
        parts += [scales, _packed(codes, steps)]
    return np.concatenate(parts, axis=-1)


def best_rounding(
    W: Tensor, fed: np.ndarray, A: Tensor, kind: TensorType, importances: np.ndarray
) -> np.ndarray:
    """Return `fed`, or the blocks of another way where its error is smaller.

    The others are plain rounding, and rounding by importances. Rows are rounded
    independently of each other, so that some tell which way is best.
    """
    some = slice(None, None, max(1, len(W) // _COMPARED_ROWS))

    def error(found: np.ndarray) -> float:
        Q = torch.from_numpy(dequantize(found, kind)).to(A.device)
        return output_error(W[some], Q, A)

    least = error(fed[some])
    for used in (None, importances):
        if error(quantize(W[some].cpu().numpy(), kind, used)) < least:
            fed = quantize(W.cpu().numpy(), kind, used)
            least = error(fed[some])
    return fed


def _scales(block: np.ndarray, kind: TensorType, importances: np.ndarray) -> np.ndarray:
    """Return the bytes of the scales of a block of columns, for each row."""
    size = _STEPS[kind].scale_bytes
    if block.ndim == 2:
        return quantize(block, kind, importances)[:, :size].copy()
    pairs = zip(block, importances, strict=True)
    return np.stack([_scales(x, kind, y) for x, y in pairs])


def _packed(codes: Tensor, steps: _Steps) -> np.ndarray:
    """Return the codes of a block as bytes; of 4 bits, two halves share the bytes."""
    numbers = np.array(steps.codes)[codes.cpu().numpy()]
    if steps.bits == 8:
        return numbers.astype(np.int8).view(np.uint8)
    low, high = np.split(numbers.astype(np.uint8), 2, axis=-1)
    return low | high << 4
