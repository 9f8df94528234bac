"""Numbers in the engine's texts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from surgeon_engine.base.formatting import (
    format_count,
    format_duration,
    format_percent,
    format_rate,
    format_size,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (format_count(1_234_567), "1,234,567"),
        (format_percent(0.1234), "12.3 %"),
        (format_percent(0.5, 0), "50 %"),
        (format_percent(0.30004, 2), "30 %"),
        (format_percent(0.95), "95 %"),
        (format_rate(12.34), "12.3"),
        (format_rate(1234.5), "1,234"),
        (format_size(0), "0.0 MB"),
        (format_size(1e308), "1e+299 GB"),
        (format_percent(-1e308), "-inf %"),
        (format_duration(1e30), "2.78e+26 h"),
        (format_size(99_940_000), "99.9 MB"),
        (format_size(120_000_000), "0.12 GB"),
        (format_size(1.5e12), "1,500.00 GB"),
        (format_duration(119.4), "119 s"),
        (format_duration(120), "2 min"),
        (format_duration(7200), "2.0 h"),
        (format_duration(-1e308), "-1e+308 s"),
        (format_size(1e300), "1e+291 GB"),
        (format_count(10**4000), "1e+308"),
        (format_percent(1e300), "1e+302 %"),
        (format_rate(float("nan")), "nan"),
    ],
)
def test_numbers_are_formatted_in_english(text, expected):
    assert text == expected


def test_import_does_not_load_babel():
    code = (
        "import sys, surgeon_engine.base.formatting; sys.exit('babel' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
