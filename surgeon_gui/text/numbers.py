"""Format numbers in the language of the window: counts, percentages, sizes, durations.

Every number in a text goes through this module. Input boxes format and parse numbers
with the `QLocale` of the same language, which `base.languages` sets as Qt's default.
Both take the signs from CLDR.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

import humanize

from surgeon_engine.base import formatting
from surgeon_gui.base.translation import language, ntr

_SPACE = "\N{NO-BREAK SPACE}"  # keeps a number and its unit on one line
_TIMES = "\N{MULTIPLICATION SIGN}"
_MINUTE, _HOUR = 60, 3600
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(%|[kMGT]?i?B|[kM]|ms|s|min|h|nats?)(?!\w))")
_LONG_WORD = re.compile(r"\S{40}(?=\S)")


def localize(number: str) -> str:
    """Replace the comma and point of 1,234.5 by the signs of the window's language."""
    return formatting.localize(number, language())


def keep_units(text: str) -> str:
    """Keep numbers and their units on one line where the text wraps.

    For texts with spaces there, such as errors of the engine and translated sentences.
    """
    return _BEFORE_UNIT.sub(_SPACE, text)


def wrappable(text: str) -> str:
    """Let long words wrap, such as lines of underscores that a model writes."""
    return _LONG_WORD.sub("\\g<0>\N{ZERO WIDTH SPACE}", text)


def number_list(values: Iterable[float]) -> str:
    """Format numbers as a list that `parse_list` reads: 10, 12.5, 20."""
    numbers = [localize(f"{value:.10g}") for value in values]
    return (", " if _has_decimal_point() else "; ").join(numbers)


def parse_list(text: str) -> tuple[float, ...]:
    """Return the numbers of a list, with the signs of the window's language.

    Semicolons and spaces separate them, and commas where those are no decimal signs.

    Raises:
        ValueError: A part of the list is no number; the message is that part.
    """
    if _has_decimal_point():
        text = text.replace(",", " ")
    parts = (part.removesuffix(",") for part in text.replace(";", " ").split())
    return tuple(_parsed(part) for part in parts)


def _parsed(part: str) -> float:
    try:
        number = float(part if _has_decimal_point() else part.replace(",", "."))
    except ValueError:
        raise ValueError(part) from None
    if not math.isfinite(number):
        raise ValueError(part)
    return number


def _has_decimal_point() -> bool:
    """Return True if the window's language writes 1.5 with a point."""
    return localize(".") == "."


def count(number: float) -> str:
    """Format a count in three digits: 950, 12.3 k, 2.81 M, 6.74 B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            shown = number / size
            decimals = 2 if shown < 10 else 1 if shown < 100 else 0
            return localize(f"{shown:.{decimals}f}") + f"{_SPACE}{letter}"
    return f"{number:.0f}"


def whole(number: int) -> str:
    """Format a whole number with all its digits: 1,234,567."""
    return localize(f"{number:,}")


def tokens(number: int) -> str:
    """Format a number of tokens: 1 token, 4,096 tokens."""
    return ntr("{n} token", "{n} tokens", number).format(n=whole(number))


def short(number: float) -> str:
    """Format a number that the user has chosen, such as a damping: 0.01, 1e-05."""
    return localize(f"{number:g}")


def significant(number: float, digits: int) -> str:
    """Format a number with so many significant digits: 0.00123, 3.1e-06.

    Two where its magnitude matters, such as for a cost; three where it is compared.
    """
    return localize(f"{number:,.{digits}g}")


def fixed(number: float, decimals: int) -> str:
    """Format a number with so many decimals: 1.20."""
    return localize(f"{number:,.{decimals}f}")


def rate(number: float) -> str:
    """Format a rate per second: 12.3, 1,234."""
    return fixed(number, 1 if number < 100 else 0)


def ratio(number: float) -> str:
    """Format a ratio: 1.27."""
    return fixed(number, 2)


def times(number: float) -> str:
    """Format a factor in three significant digits, after a multiplication sign."""
    return f"{_TIMES}{significant(number, 3)}"


def percent(
    share: float, *, signed: bool = False, decimals: int = 1, zeros: bool = False
) -> str:
    """Format a share of 1 as a percentage with at most, or exactly, so many decimals.

    `zeros`: with all zeros at its end, for figures in a column or an interval.
    """
    text = f"{share * 100:{'+' if signed else ''}.{decimals}f}"
    text = text.rstrip("0").removesuffix(".") if decimals and not zeros else text
    return f"{localize(text)}{_SPACE}%".replace("-", "\N{MINUS SIGN}")


def perplexity(value: float) -> str:
    """Format a perplexity or a loss in four digits."""
    if value >= 10_000:
        return fixed(value, 0)
    return localize(f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}")


def nats(value: float) -> str:
    """Format a divergence in nats: 1.24, 0.39, 0.030."""
    if value >= 0.1:
        return fixed(value, 2)
    return localize(f"{value:#.2g}") if value else "0"


def size(number: int) -> str:
    """Format bytes in the unit that suits them: 5.7 MB, or 5.4 MiB."""
    return _rounded_size(number, round)


def needed_size(number: int) -> str:
    """Format bytes that something needs, rounded up: it fits in what is shown."""
    return _rounded_size(number, formatting.rounded_up)


def free_size(number: int) -> str:
    """Format bytes that are free, rounded down: what is shown can be used."""
    return _rounded_size(number, formatting.rounded_down)


def _rounded_size(number: int, rounded: Callable[[float, int], float]) -> str:
    step = _unit_bytes(number)
    return _size(round(rounded(number / step, 1) * step), 1)


def chosen_size(number: int) -> str:
    """Format bytes that the user has chosen, rounded up: 3.72 MB, 400 MB."""
    step = _unit_bytes(number)
    decimals = 2 if number < 10 * step else 1
    shown = round(formatting.rounded_up(number / step, decimals) * step)
    value, unit = _size(shown, decimals).split(_SPACE)
    whole_part, point, rest = value.partition(localize("."))
    rest = rest.rstrip("0")
    return f"{whole_part}{point if rest else ''}{rest}{_SPACE}{unit}"


def _unit_bytes(number: int) -> int:
    step, base = 1, 1024 if formatting.has_binary_sizes() else 1000
    while number >= base * step:
        step *= base
    return step


def _size(number: int, decimals: int) -> str:
    form, is_binary = f"%.{decimals}f", formatting.has_binary_sizes()
    text = humanize.naturalsize(number, binary=is_binary, format=form)
    return localize(text.replace(" ", _SPACE))


def duration(seconds: float) -> str:
    """Format a duration in its two largest units: 9.5 s, 12 s, 3 min 05 s."""
    if seconds < 10:
        return localize(f"{seconds:.1f}{_SPACE}s")
    rounded = round(seconds)
    if rounded < _MINUTE:
        return f"{rounded}{_SPACE}s"
    if rounded < _HOUR:
        minutes, rest = divmod(rounded, _MINUTE)
        return f"{minutes}{_SPACE}min {rest:02d}{_SPACE}s"
    hours, rest = divmod(rounded, _HOUR)
    return f"{hours}{_SPACE}h {rest // _MINUTE:02d}{_SPACE}min"


def whole_duration(seconds: float) -> str:
    """Format an estimated duration: no fractions, at least one second."""
    if seconds < 10:
        return f"{max(1, round(seconds))}{_SPACE}s"
    return duration(seconds)


def readable_duration(seconds: float) -> str:
    """Format a rounded duration without a second unit of zero: 45 s, 2 min, 1 h."""
    unit, name = (_HOUR, "h") if seconds >= _HOUR else (_MINUTE, "min")
    if seconds >= unit and seconds % unit == 0:
        return f"{seconds // unit:.0f}{_SPACE}{name}"
    return whole_duration(seconds)


def rough_duration(seconds: float) -> str:
    """Format a duration that may be wrong by half, in one unit."""
    fives, minutes = max(5, 5 * round(seconds / 5)), round(seconds / _MINUTE)
    if fives < 2 * _MINUTE:
        return f"{fives}{_SPACE}s"
    if minutes < 2 * _HOUR // _MINUTE:
        return f"{minutes}{_SPACE}min"
    return f"{whole(round(seconds / _HOUR))}{_SPACE}h"


def clock(seconds: float) -> str:
    """Format a running time like a stopwatch: 0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), _MINUTE)  # rounded as `duration` is
    hours, minutes = divmod(minutes, _MINUTE)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}"


def scientific(value: float) -> str:
    """Format a very small number, such as a difference of logits: 3.1e-06."""
    return "0" if value == 0 else localize(f"{value:.1e}")
