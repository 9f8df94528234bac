"""Shares of whole numbers are robust to rounding."""

from __future__ import annotations

from fractions import Fraction

import pytest

from surgeon_engine.planning.rounding import ceil_share, floor_share

HUNDREDTHS = range(101)
THINGS = [1, 30, 200, 101, 100_000, 640 * 768, 14336 * 4096 * 10, 8_030_261_248]


@pytest.mark.parametrize("things", THINGS)
def test_shares_are_floor_and_ceil(things):
    for n in HUNDREDTHS:
        exact = Fraction(n, 100) * things
        assert floor_share(things, n / 100) == exact.__floor__()
        assert ceil_share(things, n / 100) == exact.__ceil__()


def test_shares_above_one_are_exact():
    assert floor_share(1_000_000, 66246.9 / 4) == 16_561_725_000
    assert ceil_share(1_000_000, 66246.9 / 4) == 16_561_725_000
