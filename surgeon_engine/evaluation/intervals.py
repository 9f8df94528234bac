"""Intervals and tests for figures of two models on the same items."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor

from surgeon_engine.api.messages.judgment import Outcome
from surgeon_engine.api.messages.run import Estimate

_RESAMPLES = 1000
_INTERVAL = 0.95
_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf((1 + _INTERVAL) / 2)
# Items that show a difference: the signs of five are the same in one of 16 cases.
_FEWEST = 6


def estimate(values: Tensor) -> Estimate:
    """Return the mean of figures, windows x tokens, with its 95 % interval.

    NaN figures are left out.
    """
    counts = (~values.isnan()).sum(dim=1)
    return ratio(values.double().nansum(dim=1), counts)


def ratio(sums: Tensor, counts: Tensor) -> Estimate:
    """Return sum(sums) / sum(counts) with its 95 % interval.

    Windows, or other items, are resampled with replacement, because the tokens of one
    depend on each other (percentile bootstrap; Efron and Tibshirani, 1993, chapter
    13). For few items the percentiles are further apart, as Student's t is wider than a
    normal distribution (Hesterberg, 2015, section 4).

    Args:
        sums: sum of the figures of each item.
        counts: tokens of each item; those with 0 are left out.
    """
    sums, counts = sums[counts > 0].double(), counts[counts > 0].double()
    size = len(sums)
    mean = float(sums.sum() / counts.sum())
    if size < 2:
        return Estimate(mean, mean, mean)
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(size, (_RESAMPLES, size), generator=generator)
    means = (sums[index].sum(dim=1) / counts[index].sum(dim=1)).sort().values
    share = _NORMAL.cdf(-math.sqrt(size / (size - 1)) * _student(size - 1))
    outside = int(share * len(means))  # on each side
    return Estimate(mean, float(means[outside]), float(means[-1 - outside]))


def _student(freedom: int) -> float:
    """Return the quantile of Student's t (Abramowitz and Stegun, 1964, 26.7.5)."""
    z, n = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Return p of the exact test whether both numbers have the same expectation."""
    total, least = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(total, k) for k in range(least + 1))
    return min(1.0, 2 * tail / 2**total)


def difference_of_shares(only_first: int, only_second: int, items: int) -> Estimate:
    """Return the share of the second minus the share of the first, with its interval.

    The 95 % interval follows Bonett and Price (2012), who add an item to each number.
    `only_first` and `only_second` count the items that one of both alone gets right,
    and `items` counts all items.
    """
    value = (only_second - only_first) / items
    first, second = ((x + 1) / (items + 2) for x in (only_first, only_second))
    middle = second - first
    error = math.sqrt((first + second - middle**2) / (items + 2))
    low, high = middle - _Z * error, middle + _Z * error
    return Estimate(value, min(value, max(-1.0, low)), max(value, min(1.0, high)))


def outcome_of(gain: Estimate, items: int) -> Outcome:
    """Return the outcome that an interval shows; a positive figure is better.

    Few items show no difference, since their resamples are not further apart than they
    are.
    """
    if items < _FEWEST:
        return Outcome.SAME
    if gain.high < 0:
        return Outcome.WORSE
    return Outcome.BETTER if gain.low > 0 else Outcome.SAME


def outcome_of_loss(loss: Estimate, items: int) -> Outcome:
    """Return the outcome that an interval shows; a positive figure is worse."""
    return outcome_of(Estimate(-loss.value, -loss.high, -loss.low), items)
