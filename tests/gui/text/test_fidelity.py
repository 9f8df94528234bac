"""Figures of a fidelity in words."""

import pytest

from surgeon_engine.api.messages.run import Estimate, Fidelity
from surgeon_gui.text import fidelity


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.616, "62"),
        (0.657, "66"),
        (0.654, "65"),
        (0.697, "69"),  # below the limits of the verdicts
        (0.849, "84"),
        (0.85, "85"),
        (0.996, "99"),
        (1.0, "100"),
    ],
)
def test_share_of_same_top_tokens_is_rounded_but_reaches_no_limit(share, shown):
    assert fidelity.whole_percent(share) == f"{shown}\xa0%"


def test_interval_of_same_top_tokens_has_one_number_of_decimals():
    found, other = Estimate(0.62, 0.601, 0.64), Estimate(1.0, 1.0, 1.0)
    text = fidelity.agreement_interval(Fidelity(other, found, other, 8, 64, "x"))
    assert text.replace("\xa0", " ") == "62.0 % (60.1 % to 64.0 %)"
