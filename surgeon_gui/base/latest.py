"""Remember the latest result of a function of values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def latest(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """Return a function that keeps its latest result as long as its arguments stay.

    For what every event asks again, such as the steps of the run in progress. Arguments
    and result must be values: nobody changes them.
    """
    kept: tuple[tuple[Any, ...], _Result] | None = None

    @functools.wraps(function)
    def remembered(*arguments: Any) -> _Result:
        nonlocal kept
        before = kept  # another thread may replace it
        if before is None or before[0] != arguments:
            kept = before = (arguments, function(*arguments))
        return before[1]

    return remembered
