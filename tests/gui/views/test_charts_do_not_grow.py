"""Charts reuse their plot items: redrawing leaks no objects."""

from __future__ import annotations

import gc

import pyqtgraph as pg
import pytest
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    RunFinished,
    RunStarted,
    Stage,
    StageStarted,
)
from surgeon_gui.state import run as run_state
from surgeon_gui.state.run import RunState
from surgeon_gui.views.run.course import CourseView
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished
from tests.helpers.fake_live import memory

SHOTS = 5
CONFIG = RunConfig(pruning=pruning_config(shots=SHOTS, sparsity=0.3))
MAX_EXTRA_OBJECTS = 100  # kept by Python, Qt and pytest


def states_of(name):
    """Return all states of a run, from its start to its end."""
    run = run_state.requested(name, CONFIG, "folder", at=0.0)
    events = [
        StageStarted(Stage.LOAD, 0),
        RunStarted("folder", SHOTS, model_summary(), "cpu", 100, 50),
        BaselineEvaluated(evaluation(14.2)),
    ]
    for shot in range(1, SHOTS + 1):
        events.append(StageStarted(Stage.CURVATURE, shot))
        events += [memory(10 * shot + number) for number in range(10)]
        events.append(shot_finished(shot, SHOTS, 0.3))
    events.append(RunFinished(False, 9.0, 1))
    states = []
    for at, event in enumerate(events):
        run = run_state.apply(run, Envelope(name, float(at), event))
        states.append(run)
    return states


@pytest.fixture
def view(qtbot):
    view = CourseView()
    qtbot.addWidget(view)
    view.resize(600, 500)
    view.show()
    qtbot.waitExposed(view)
    return view


def object_counts(view):
    """Return the numbers of Python objects, Qt children and plot items."""
    QApplication.processEvents()
    items = [len(plot.scene().items()) for plot in view.findChildren(pg.PlotWidget)]
    # Counted first: findChildren creates Python wrappers, which would count as growth.
    children = len(view.findChildren(QObject))
    for _ in range(2):  # hidden charts free further objects as they go
        gc.collect()
    return len(gc.get_objects()), children, sum(items)


def check_nothing_grew(view, before):
    objects, children, items = object_counts(view)
    assert children == before[1]
    # Axes keep the maximum number of tick labels ever needed.
    assert items <= before[2] + 10
    assert objects <= before[0] + MAX_EXTRA_OBJECTS


@pytest.mark.slow
def test_runs_opened_and_closed_leak_no_objects(view, qtlog):
    def open_and_close(name):
        states = states_of(name)
        for state in (states[20], states[-1], RunState()):  # running, finished, closed
            view.show_all(state, now=100.0)
        view.grab()

    with qtlog.disabled():  # each message that is kept is an object
        for number in range(4):
            open_and_close(f"warm-{number}")
        before = object_counts(view)
        for number in range(12):
            open_and_close(f"run-{number}")
    check_nothing_grew(view, before)
