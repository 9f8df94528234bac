"""How many of so many things a share of them is.

In floats 0.29 of 200 is a little less than 58, and 0.1 of 30 a little more than 3.
"""

from __future__ import annotations

import math

_ROUNDING = 1e-12  # of the result


def floor_share(things: int, share: float) -> int:
    """As many of them as are no more than that share."""
    return math.floor(things * share * (1 + _ROUNDING))


def ceil_share(things: int, share: float) -> int:
    """As few of them as are no less than that share."""
    return math.ceil(things * share * (1 - _ROUNDING))
