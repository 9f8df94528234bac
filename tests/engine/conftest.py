"""What makes whole runs on tiny models take a twentieth of a second."""

from __future__ import annotations

import pytest

from surgeon_engine import devices
from tests.helpers.runs import check_nothing


@pytest.fixture
def quick_runs(request, monkeypatch):
    """No fresh process verifies, and nobody collects the garbage of all the tests.

    A fresh process takes seconds to import torch; those marked do it for real.
    """
    monkeypatch.setattr(devices, "forget_peak_memory", lambda: None)
    if "fresh_process" not in request.keywords:
        check_nothing(monkeypatch)
