"""Representative cases: in place of all of them, or before the others."""

from collections.abc import Container, Iterable
from itertools import cycle
from typing import Any

import pytest


def pairs(many: Iterable[Any], few: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Return each of `many` with one of `few`, and the first with all of them."""
    many, few = list(many), list(few)
    found = [(many[0], each) for each in few]
    return found + list(zip(many[1:], cycle(few), strict=False))


def others_later(cases: Iterable[Any], usual: Container[str]) -> list[Any]:
    """Return all cases; those that are not usual get the marker `runtimes`.

    Args:
        cases: names of families, or tuples that begin with one.
        usual: the families that `make check` tests.
    """
    found = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marks = () if values[0] in usual else (pytest.mark.runtimes,)
        found.append(pytest.param(*values, marks=marks))
    return found
