"""Shares of whole things are counted as on paper, whatever floats make of them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from surgeon_engine.api.planning.rounding import ceil_share, floor_share

HUNDREDTHS = range(101)
THINGS = [1, 30, 200, 101, 100_000, 640 * 768, 14336 * 4096 * 10, 8_030_261_248]


@pytest.mark.parametrize("things", THINGS)
def test_a_share_is_no_more_or_no_less_of_them(things):
    for n in HUNDREDTHS:
        exact = Fraction(n, 100) * things
        assert floor_share(things, n / 100) == exact.__floor__()
        assert ceil_share(things, n / 100) == exact.__ceil__()


def test_a_share_of_more_than_all_is_as_exact():
    assert floor_share(1_000_000, 66246.9 / 4) == 16_561_725_000
    assert ceil_share(1_000_000, 66246.9 / 4) == 16_561_725_000
