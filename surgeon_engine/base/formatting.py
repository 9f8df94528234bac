"""Format numbers for the engine's texts in English, and texts of others.

`localize` gives such a number the separators of another language.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from functools import cache

_LOCALE = "en"
# Units of sizes in bytes, with their names.
_DECIMAL = ((10**6, "MB"), (10**9, "GB"))
_BINARY = ((2**20, "MiB"), (2**30, "GiB"))
_MINUTE, _HOUR = 60, 3600
_NOISE = 1e-12  # relative rounding error of a float
_MAX = 1e20  # larger numbers get an exponent
_LARGEST = 1e308  # an integer beyond it is no float
_SHOWN_LENGTH = 60  # characters in a message
QUOTES = "“{prompt}”"  # a text of the window's catalog
# Besides printable characters and spaces; the last two join letters and emoji.
_SHOWN = "\n\t\u200c\u200d"

_units = _DECIMAL  # units of sizes in this process


def use_binary_sizes(is_binary: bool) -> None:
    """Format sizes in MiB and GiB from now on, or in MB and GB."""
    global _units
    _units = _BINARY if is_binary else _DECIMAL


def has_binary_sizes() -> bool:
    """Return True if sizes are formatted in MiB and GiB."""
    return _units is _BINARY


def size_units() -> tuple[tuple[int, str], tuple[int, str]]:
    """Return the bytes and the names of the units for large files and for memory."""
    return _units


def escape_controls(text: str) -> str:
    """Replace control characters by their escapes, line breaks and tabs excepted.

    Names and texts of others must not drive the terminal, nor turn around what follows
    them.
    """
    if text.isprintable():
        return text
    return "".join(map(_escaped, text))


def shown(text: str, quotes: str = QUOTES) -> str:
    """Return a text in quotes, in one line of readable length, without its middle.

    `quotes` is `QUOTES` in the language of the user.
    """
    half = _SHOWN_LENGTH // 2
    cut = text if len(text) <= _SHOWN_LENGTH else f"{text[:half]}…{text[-half:]}"
    escaped = escape_controls(cut).replace("\n", "\\n").replace("\t", "\\t")
    return quotes.format(prompt=escaped)


def localize(number: str, language: str) -> str:
    """Replace the comma and the point of 1,234.5 by the separators of a language."""
    return number if language == _LOCALE else number.translate(_separators(language))


def format_count(number: int) -> str:
    """Format a whole number to its last digit, such as "1,234,567"."""
    if abs(number) < _MAX:
        return f"{number:,.0f}"
    return f"{min(max(number, -_LARGEST), _LARGEST):.3g}"


def format_percent(share: float, decimals: int = 1) -> str:
    """Format a share of 1 as a percentage with at most so many decimals: "12.5 %"."""
    text = _fixed(100 * share, decimals)
    if "." in text and "e" not in text:
        text = text.rstrip("0").removesuffix(".")
    return f"{text} %"


def format_rate(rate: float) -> str:
    """Format a number of things per second, such as "12.3" or "1,234"."""
    return _fixed(rate, 1 if rate < 100 else 0)


def rounded_up(number: float, decimals: int) -> float:
    """Round a size up: what has it fits in a limit of the number that is shown."""
    if not abs(number) < _MAX:
        return number
    scale = 10**decimals
    noise = _NOISE if number > 0 else -_NOISE
    return math.ceil(number * scale * (1 - noise)) / scale


def rounded_down(number: float, decimals: int) -> float:
    """Round a free amount down: so much of it can be used."""
    return -rounded_up(-number, decimals) + 0.0  # no negative zero


def format_size(size: float) -> str:
    """Format a number of bytes in MB, or GB from 1 GB on, rounded up; or MiB, GiB."""
    return _in_bytes(size, rounded_up)


def format_room(size: float) -> str:
    """Format a number of free bytes as `format_size`, rounded down."""
    return _in_bytes(size, rounded_down)


def _in_bytes(size: float, rounded: Callable[[float, int], float]) -> str:
    (megabyte, small), (gigabyte, large) = _units
    if size < gigabyte:
        return f"{_fixed(rounded(size / megabyte, 1), 1)} {small}"
    return f"{_fixed(rounded(size / gigabyte, 2), 2)} {large}"


def format_duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours, whichever suits its length."""
    if seconds < 2 * _MINUTE:
        return f"{_fixed(seconds, 0)} s"
    if seconds < 2 * _HOUR:
        return f"{_fixed(seconds / _MINUTE, 0)} min"
    return f"{_fixed(seconds / _HOUR, 1)} h"


@cache
def _separators(language: str) -> dict[int, str]:
    from babel.numbers import get_decimal_symbol, get_group_symbol  # not in English

    group, decimal = get_group_symbol(language), get_decimal_symbol(language)
    return str.maketrans({",": group, ".": decimal})


def _escaped(character: str) -> str:
    if character.isprintable() or character in _SHOWN:
        return character
    if unicodedata.category(character) == "Zs":  # such as a no-break space
        return character
    return character.encode("unicode_escape").decode()


def _fixed(number: float, decimals: int) -> str:
    return f"{number:,.{decimals}f}" if abs(number) < _MAX else f"{number:.3g}"
