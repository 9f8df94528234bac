"""Cases of a test of which only some run in `make test`."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def tiered(cases: Iterable, often: Iterable) -> list:
    """Return the cases as parameters of a test; those not in `often` are thorough.

    A case is a value, or a tuple with a value for each argument.
    """
    often = list(often)
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if case in often else pytest.mark.thorough,
        )
        for case in cases
    ]
