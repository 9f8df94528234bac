"""Format numbers for the engine's texts, which are in English.

babel is imported by the first call, because the window imports this module at its start
and formats its own numbers by the language that the user has chosen.
"""

from __future__ import annotations

_LOCALE = "en"
_MEGABYTE, _GIGABYTE = 1e6, 1e9
_MINUTE, _HOUR = 60, 3600
_LARGEST = 1e15  # that babel formats to its last digit


def format_count(number: int) -> str:
    """Format a whole number to its last digit, such as "1,234,567"."""
    return _format_decimal(number, "#,##0")


def format_percent(share: float, decimals: int = 1) -> str:
    """Format a share of 1 as a percentage with at most so many decimals: "12.5 %"."""
    from babel.numbers import format_percent as babel_percent

    if abs(share) > _LARGEST:
        return f"{100 * share:.3g} %"
    pattern = f"#,##0.{'#' * decimals} %"
    return babel_percent(share, format=pattern, locale=_LOCALE)


def format_rate(rate: float) -> str:
    """Format a number of things per second, such as "12.3" or "1,234"."""
    return _format_decimal(rate, "#,##0.0" if rate < 100 else "#,##0")


def format_size(size: float) -> str:
    """Format a number of bytes in MB, or in GB from 100 MB on."""
    if size < _GIGABYTE / 10:
        return f"{_format_decimal(size / _MEGABYTE, '#,##0.0')} MB"
    return f"{_format_decimal(size / _GIGABYTE, '#,##0.00')} GB"


def format_duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours, whichever suits its length."""
    if seconds < 2 * _MINUTE:
        return f"{_format_decimal(seconds, '0')} s"
    if seconds < 2 * _HOUR:
        return f"{_format_decimal(seconds / _MINUTE, '0')} min"
    return f"{_format_decimal(seconds / _HOUR, '#,##0.0')} h"


def _format_decimal(number: float, pattern: str) -> str:
    from babel.numbers import format_decimal

    if abs(number) > _LARGEST:
        return f"{number:.3g}"
    return format_decimal(number, format=pattern, locale=_LOCALE)
