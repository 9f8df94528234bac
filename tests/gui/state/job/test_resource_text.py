"""Texts about the resources that a run needs."""

from __future__ import annotations

from surgeon_engine.planning.needs import Need, Resource
from surgeon_gui.state.job import resource_text


def test_unknown_free_space_is_not_said_to_fit():
    """The free disk space of another computer is not known."""
    assert not resource_text.has_light(Need(Resource.DISK, 5e6, None))
    assert resource_text.has_light(Need(Resource.DISK, 5e6, 9e6))
