"""Tests of the engine compute alike on all processors."""

from __future__ import annotations

import pytest

from surgeon_engine.runtime import devices


@pytest.fixture(scope="session", autouse=True)
def exact_products():
    """Multiply float32 as such, even where products of 16 bits are faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "FAST_ON_CPU", ())
        yield
