"""Mark some cases of a test as thorough."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def thorough_except(cases: Iterable, regular: Iterable) -> list:
    """Return the cases as parameters of a test; those not in `regular` are thorough.

    A case is a value, or a tuple with a value for each argument.
    """
    cases, regular = list(cases), list(regular)
    assert all(case in cases for case in regular)
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if case in regular else pytest.mark.thorough,
        )
        for case in cases
    ]
