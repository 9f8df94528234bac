"""Round numbers to MXFP4, in which GPT-OSS stores its experts.

A block of 32 numbers has a scale 2^e and a code of 4 bits for each number: a sign, and
one of 0, 0.5, 1, 1.5, 2, 3, 4, 6 (OCP Microscaling Formats, version 1.0). llama.cpp
takes the scale with which the largest number of a block is 4 to 8. Numbers that were
MXFP4 before then come back exactly. Where numbers are cut off at 6, twice the scale can
have a smaller error; it is then taken.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_NUMBERS = 32  # in a block
_BYTES = 17
_BIAS = 127  # added to e in its byte
_MAX_CODE = 254  # largest byte of a scale; 255 is NaN
_EXPONENT = 2  # exponent of 4, the largest power of two
_MANTISSA = 23  # bits of a float32
_LARGEST = 6.0
_NEGATIVE = 8  # added to the code of a number below zero
_AT_ONCE = 2**15  # blocks, whose numbers stay in the cache


def to_mxfp4(W: np.ndarray, importances: np.ndarray | None = None) -> np.ndarray:
    """Return the blocks of W as bytes: R x bytes of a row.

    Args:
        W: R x C, or several such matrices; finite, rows of whole blocks.
        importances: C, positive, the weights of squared errors; None: all are 1.
    """
    of_row = W.shape[-1] // _NUMBERS
    blocks = torch.from_numpy(np.ascontiguousarray(W, np.float32)).view(-1, _NUMBERS)
    weights = torch.ones(1, _NUMBERS)
    if importances is not None:
        weights = torch.tensor(importances, dtype=torch.float32).view(-1, _NUMBERS)
    result = np.empty((len(blocks), _BYTES), np.uint8)
    step = max(1, _AT_ONCE // of_row) * of_row  # whole rows
    for first in range(0, len(blocks), step):
        part = blocks[first : first + step]
        of_rows = part.unflatten(0, (-1, len(weights)))
        result[first : first + step] = _rounded(of_rows, weights).flatten(0, 1).numpy()
    return result.reshape(*W.shape[:-1], of_row * _BYTES)


def _rounded(blocks: Tensor, weights: Tensor) -> Tensor:
    """Return the bytes of some blocks.  R x n x 32, n x 32 -> R x n x 17."""
    sizes = blocks.abs()
    largest = sizes.amax(dim=-1, keepdim=True)
    _, exponent = torch.frexp(largest)  # the largest is in [2^(e-1), 2^e)
    scale = (exponent - 1 - _EXPONENT + _BIAS).clamp(1, _MAX_CODE)
    sizes /= (scale.int() << _MANTISSA).view(torch.float32)  # 2^e, exactly
    values, halves = _nearest(sizes), _nearest(sizes / 2)
    error, of_halves = (
        ((sizes - x).square() * weights).sum(dim=-1, keepdim=True)
        for x in (values, 2 * halves)
    )
    takes_halves = (of_halves < error) & (scale < _MAX_CODE)
    values = torch.where(takes_halves, halves, values)
    scale = (scale + takes_halves).masked_fill(largest == 0, 0)
    code = _codes(values) + _NEGATIVE * ((blocks < 0) & (values > 0))
    first, second = code.to(torch.uint8).chunk(2, dim=-1)
    return torch.cat([scale.to(torch.uint8), first | second << 4], dim=-1)


def _nearest(sizes: Tensor) -> Tensor:
    """Return the value of the nearest code for each number; none is negative."""
    step = 0.5 + 0.5 * (sizes >= 2) + (sizes >= 4)
    return (sizes / step).round_().mul_(step).clamp_(max=_LARGEST)


def _codes(values: Tensor) -> Tensor:
    """Return the codes of 0, 0.5, 1, 1.5, 2, 3, 4, 6, which are 0 to 7."""
    codes: Tensor = torch.minimum(2 * values, torch.minimum(values + 2, values / 2 + 4))
    return codes
