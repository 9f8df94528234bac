"""Representative pairs of values, in place of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Any


def pairs(many: Iterable[Any], few: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Return each of `many` with one of `few`, and the first with all of them."""
    many, few = list(many), list(few)
    found = [(many[0], each) for each in few]
    return found + list(zip(many[1:], cycle(few), strict=False))
