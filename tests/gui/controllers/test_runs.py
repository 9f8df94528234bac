"""The list of runs is read again when the figures of a run change."""

from __future__ import annotations

import pytest

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Cancelled, Envelope
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.run import requested
from tests.helpers.fake_engine import shot_finished
from tests.helpers.fake_results import recovered
from tests.helpers.fake_thread import FakeThread


@pytest.fixture
def engine():
    return FakeThread()


@pytest.fixture
def refreshed(qapp, engine, tmp_path, monkeypatch):
    """Return a list that grows by one whenever the list of runs is read again."""
    session = Session(engine, tmp_path)
    controller = RunsController(session)
    session._set_run(requested("run-1", RunConfig(), str(tmp_path / "run"), 0.0))
    refreshed = []
    monkeypatch.setattr(controller, "refresh", lambda: refreshed.append(True))
    return refreshed


@pytest.mark.parametrize(
    "event", [shot_finished(1, 1, 0.3), recovered(14.9), Cancelled()]
)
def test_event_with_figures_updates_the_list(engine, refreshed, event):
    engine.deliver([Envelope("run-1", 1.0, event)])
    assert refreshed == [True]
    engine.deliver([Envelope("run-2", 1.0, event)])
    assert refreshed == [True]
