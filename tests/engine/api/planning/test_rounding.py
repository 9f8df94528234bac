"""Shares of whole numbers are exact despite rounding errors of floats."""

from __future__ import annotations

from fractions import Fraction

import pytest

from surgeon_engine.api.planning.rounding import ceil_share, floor_share

PERCENTAGES = range(101)
TOTALS = [1, 30, 200, 101, 100_000, 640 * 768, 14336 * 4096 * 10, 8_030_261_248]


@pytest.mark.parametrize("total", TOTALS)
def test_shares_are_rounded_like_exact_fractions(total):
    for n in PERCENTAGES:
        exact = Fraction(n, 100) * total
        assert floor_share(total, n / 100) == exact.__floor__()
        assert ceil_share(total, n / 100) == exact.__ceil__()


def test_share_above_one_is_exact():
    assert floor_share(1_000_000, 66246.9 / 4) == 16_561_725_000
    assert ceil_share(1_000_000, 66246.9 / 4) == 16_561_725_000
