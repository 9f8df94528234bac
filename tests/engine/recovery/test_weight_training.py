"""The rate of a training rises, then falls."""

from __future__ import annotations

import pytest

from surgeon_engine.recovery.weight_training import rate_at


def test_rate_warms_up_and_falls_with_the_time():
    assert rate_at(2e-4, 0, 0.0) < rate_at(2e-4, 4, 0.0) == pytest.approx(2e-4)
    assert rate_at(2e-4, 9, 0.5) == pytest.approx(2e-4 * 0.525)
    assert rate_at(2e-4, 9, 1.0) == pytest.approx(1e-5)
