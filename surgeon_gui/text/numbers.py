"""Numbers as people read them: counts, shares, sizes and times."""

from __future__ import annotations

import humanize

from surgeon_gui.base.translation import with_marks

_NARROW = "\N{NO-BREAK SPACE}"  # keeps a number and its unit on one line
_MINUTE, _HOUR = 60, 3600


def count(number: float) -> str:
    """A whole number in three figures: 950, 12.3 k, 2.81 M, 6.74 B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{_in_three_figures(number / size)}{_NARROW}{letter}"
    return f"{number:.0f}"


def whole(number: int) -> str:
    """A whole number to the last digit: 1,234,567."""
    return with_marks(f"{number:,}")


def short(number: float) -> str:
    """A number that a person has chosen, such as a damping: 0.01, 1e-05."""
    return with_marks(f"{number:g}")


def two_figures(number: float) -> str:
    """A number of which the size alone matters, such as a cost: 0.0012, 3.1e-06."""
    return with_marks(f"{number:.2g}")


def three_figures(number: float) -> str:
    """A number that is compared with others like it: 0.00123, 3.14e-06."""
    return with_marks(f"{number:.3g}")


def rate(number: float) -> str:
    """So many a second: 12.3, 1,234."""
    return with_marks(f"{number:,.1f}" if number < 100 else f"{number:,.0f}")


def ratio(number: float) -> str:
    """How many times as much: 1.27."""
    return with_marks(f"{number:.2f}")


def percent(share: float, *, signed: bool = False, decimals: int = 1) -> str:
    """A share of 1 as per cent, with at most so many decimals."""
    text = f"{share * 100:{'+' if signed else ''}.{decimals}f}"
    text = text.rstrip("0").removesuffix(".") if decimals else text
    return f"{with_marks(text)}{_NARROW}%".replace("-", "\N{MINUS SIGN}")


def perplexity(value: float) -> str:
    """A perplexity or a loss in four figures."""
    if value >= 10_000:
        return with_marks(f"{value:,.0f}")
    decimals = 3 if value < 10 else 2 if value < 100 else 1
    return with_marks(f"{value:.{decimals}f}")


def size(number: int) -> str:
    """Bytes in the unit that suits them."""
    words = humanize.naturalsize(number, format="%.1f").replace(" ", _NARROW)
    return with_marks(words)


def megabytes(number: int) -> str:
    """Bytes to the last one, in megabytes."""
    figures = f"{number / 1e6:,.6f}".rstrip("0").removesuffix(".")
    return f"{with_marks(figures)}{_NARROW}MB"


def duration(seconds: float) -> str:
    """A time in the two units that matter."""
    if seconds < 10:
        return with_marks(f"{seconds:.1f}{_NARROW}s")
    rounded = round(seconds)
    if rounded < _MINUTE:
        return f"{rounded}{_NARROW}s"
    if rounded < _HOUR:
        minutes, rest = divmod(rounded, _MINUTE)
        return f"{minutes}{_NARROW}min {rest:02d}{_NARROW}s"
    hours, rest = divmod(rounded, _HOUR)
    return f"{hours}{_NARROW}h {rest // _MINUTE:02d}{_NARROW}min"


def whole_duration(seconds: float) -> str:
    """A time that is only an estimate: without fractions, at least a second."""
    if seconds < 10:
        return f"{max(1, round(seconds))}{_NARROW}s"
    return duration(seconds)


def rough_duration(seconds: float) -> str:
    """A time that may be off by half: in the one unit that matters."""
    if seconds < 2 * _MINUTE:
        return f"{max(5, 5 * round(seconds / 5))}{_NARROW}s"
    if seconds < 2 * _HOUR:
        return f"{round(seconds / _MINUTE)}{_NARROW}min"
    return f"{round(seconds / _HOUR):,}{_NARROW}h"


def clock(seconds: float) -> str:
    """A running time, as on a stopwatch: 0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(int(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}"


def scientific(value: float) -> str:
    """A very small number, such as a difference of logits: 3.1e-06."""
    return "0" if value == 0 else with_marks(f"{value:.1e}")


def _in_three_figures(number: float) -> str:
    decimals = 2 if number < 10 else 1 if number < 100 else 0
    return with_marks(f"{number:.{decimals}f}")
