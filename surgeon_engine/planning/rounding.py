"""Shares of whole numbers, robust to rounding.

In floats 0.29 * 200 is a little less than 58, and 0.1 * 30 a little more than 3.
"""

from __future__ import annotations

import math

_ROUNDING = 1e-12  # relative error of the result


def floor_share(n: int, share: float) -> int:
    """Return floor(n * share), robust to rounding."""
    return math.floor(n * share * (1 + _ROUNDING))


def ceil_share(n: int, share: float) -> int:
    """Return ceil(n * share), robust to rounding."""
    return math.ceil(n * share * (1 - _ROUNDING))
