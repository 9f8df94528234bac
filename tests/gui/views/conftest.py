"""The place New over a session without an engine and without a window."""

from functools import partial
from types import SimpleNamespace

import pytest
from PySide6.QtCore import QObject, Signal

from surgeon_gui.base.settings import Settings
from surgeon_gui.text.problems import sentence
from surgeon_gui.window.new_place import NewPlace
from tests.helpers.queued_runs import ready_state


class FakeRuns(QObject):
    """The list of runs: empty at first."""

    changed = Signal()
    state = SimpleNamespace(records=())


@pytest.fixture
def place(qtbot, session, actions, tmp_path):
    """Return the place New with a model that can be pruned; it follows its session."""
    runs = FakeRuns()
    place = NewPlace(session, Settings(), runs, actions)
    qtbot.addWidget(place)
    place.fake_runs = runs
    place.session, place.started = session, []
    session.changed.connect(partial(show, place))
    actions["start_action"].triggered.connect(lambda: place.started.append("run"))
    actions["queue_add_action"].triggered.connect(lambda: place.started.append("queue"))
    session.store.set(ready_state(tmp_path))
    place.resize(1200, 800)
    place.show()
    return place


def show(place):
    obstacle = place.session.start_obstacle()
    place.show_state(place.session.state, obstacle, sentence(obstacle))
