"""Fixtures of the pages of the five steps."""

import pytest

from surgeon_gui.text.problems import Step
from tests.helpers.windows import QUICK


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Return an empty Hub cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def page(place):
    """Return the place New with the Target page open, without menus."""
    place.session.draft.load(QUICK)
    place.open_expert(Step.TARGET)
    return place
