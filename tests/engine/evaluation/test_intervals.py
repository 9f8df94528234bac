"""Intervals and tests of two models on the same items."""

import math

import numpy as np
import pytest
import torch

from surgeon_engine.api.messages.judgment import Outcome
from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.evaluation.intervals import (
    difference_of_shares,
    mcnemar,
    outcome_of,
    outcome_of_loss,
    ratio,
)

DRAWS = 200


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (0, 6, 2 / 64), (8, 2, 112 / 1024)],
)
def test_mcnemar_is_the_exact_binomial_test(first, second, p):
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == pytest.approx(p)


def test_ratio_weighs_items_by_their_tokens():
    found = ratio(torch.tensor([2.0, 0.0, 9.0]), torch.tensor([2, 0, 6]))
    assert found.value == pytest.approx(11 / 8)
    assert found.low < found.value < found.high
    assert ratio(torch.tensor([3.0]), torch.tensor([2])) == Estimate(1.5, 1.5, 1.5)


@pytest.mark.parametrize("windows", [12, 16, 32])
def test_intervals_of_skewed_figures_cover_their_mean(windows):
    """Figures of windows are lognormal, as their KL: most small, a few large."""
    draw, covered = torch.Generator().manual_seed(0), 0
    for _ in range(DRAWS):
        counts = torch.randint(5, 60, (windows,), generator=draw)
        nats = torch.exp(0.5 * torch.randn(windows, generator=draw) - 0.125)
        found = ratio(counts * nats, counts)
        covered += found.low <= 1 <= found.high
    assert 0.90 * DRAWS <= covered <= 0.99 * DRAWS


@pytest.mark.parametrize("windows", [12, 32])
def test_intervals_of_paired_differences_cover_their_mean(windows):
    draw, covered = np.random.default_rng(1), 0
    for _ in range(DRAWS):
        of_text = draw.normal(3, 1, windows)  # common to both models
        before = of_text + draw.normal(0, 0.1, windows)
        after = of_text + 0.2 + draw.normal(0, 0.2, windows)
        found = ratio(torch.tensor(after - before), torch.ones(windows))
        covered += found.low <= 0.2 <= found.high
    assert 0.90 * DRAWS <= covered <= 0.99 * DRAWS


@pytest.mark.parametrize("items", [20, 60])
@pytest.mark.parametrize(("lost", "gained"), [(0.25, 0.05), (0.1, 0.1), (0.4, 0.02)])
def test_intervals_of_shares_cover_the_difference(items, lost, gained):
    draw, covered = np.random.default_rng(2), 0
    for _ in range(DRAWS):
        first, second, _ = draw.multinomial(items, [lost, gained, 1 - lost - gained])
        found = difference_of_shares(int(first), int(second), items)
        covered += found.low <= gained - lost <= found.high
    assert 0.90 * DRAWS <= covered <= 0.99 * DRAWS


def test_equal_answers_give_no_difference_but_an_interval():
    found = difference_of_shares(0, 0, 20)
    assert found.value == 0
    assert found.low == -found.high
    assert 0.05 < found.high < 0.2
    assert outcome_of(found, 20) is Outcome.SAME


def test_outcomes_follow_the_interval():
    assert outcome_of(Estimate(0.2, 0.1, 0.3), 6) is Outcome.BETTER
    assert outcome_of(Estimate(-0.2, -0.3, -0.1), 6) is Outcome.WORSE
    assert outcome_of(Estimate(0.2, -0.1, 0.3), 6) is Outcome.SAME
    assert outcome_of_loss(Estimate(0.2, 0.1, 0.3), 6) is Outcome.WORSE
    assert outcome_of_loss(Estimate(0.0, 0.0, 0.0), 6) is Outcome.SAME
    assert outcome_of(Estimate(*[math.nan] * 3), 6) is Outcome.SAME
    assert outcome_of(Estimate(0.2, 0.1, 0.3), 5) is Outcome.SAME  # too few items


@pytest.mark.parametrize("used", [6, 8, 12])
def test_few_items_with_tokens_seldom_differ_by_chance(used):
    """Tokens of a rare class are in few windows of a text."""
    draw, different = np.random.default_rng(3), 0
    for _ in range(DRAWS):
        sums, counts = torch.zeros(2, 28)
        counts[:used] = 1
        sums[:used] = torch.tensor(draw.normal(0, 1, used))
        found = ratio(sums, counts)
        different += outcome_of(found, used) is not Outcome.SAME
    assert different <= 0.1 * DRAWS
