"""Equal shares of several texts that are chosen at once."""

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.base.errors import ConfigError
from surgeon_gui.state.sources.shares import with_texts


def texts(n):
    return [f"{i}.txt" for i in range(n)]


@pytest.mark.parametrize("n", [1, 3, 51, 54, 64])
def test_each_of_many_texts_has_a_window(n):
    config = with_texts(CalibrationConfig(windows=64), texts(n))
    assert list(config.all_texts) == texts(n)
    assert sum(config.window_counts) == 64
    assert min(config.window_counts) >= 1


@pytest.mark.parametrize(
    ("windows", "n", "numbers"),
    [(64, 65, ("65 ", "64 ")), (5000, 1001, ("1,001 ", "1,000 "))],
)
def test_texts_without_window_or_share_are_refused_with_numbers(windows, n, numbers):
    with pytest.raises(ConfigError, match="at most") as error:
        with_texts(CalibrationConfig(windows=windows), texts(n))
    assert all(number in error.value.message for number in numbers)
