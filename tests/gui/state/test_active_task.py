"""The action strip shows the engine's task, also if it is not a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgeon_engine.api.messages.run import Progressed, Stage, StageStarted
from surgeon_gui.state.active_task import active_task
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import Request, RequestKind
from tests.helpers.windows import TIMEOUT_MS, click, find, load_and_wait


@pytest.mark.parametrize(
    ("kind", "stage", "label"),
    [
        (RequestKind.DIAGNOSIS, Stage.CURVATURE, "Diagnosis: "),
        (RequestKind.SAVE, Stage.EXPORT, "Saving in another format: "),
        (RequestKind.MEASUREMENT, Stage.MEASUREMENT, "Measuring speed and memory, "),
    ],
)
def test_active_task_has_a_label_and_a_growing_share(kind, stage, label):
    def task_of(request):
        return active_task(AppState(requests={kind: request}))

    request = Request("it").with_event(StageStarted(stage, 0))
    started = task_of(request)
    request = request.with_event(Progressed(stage, 0, 3, 8))
    further = task_of(request)
    assert further.label.startswith(label)
    assert further.label.endswith("4 of 8")
    assert (started.share or 0.0) < further.share < 1
    assert task_of(request.cancelling()).label.lower().endswith("cancelling…")
    assert task_of(replace(request, is_cancelled=True)) is None


def test_share_of_a_task_that_loads_its_model_is_not_known():
    loading = Request("it").with_event(StageStarted(Stage.MEASUREMENT, 0))
    task = active_task(AppState(requests={RequestKind.MEASUREMENT: loading}))
    assert task.share is None
    assert task.label == "Measuring speed and memory"


def test_action_strip_shows_the_task_until_it_ends(qtbot, make_window):
    window = make_window("--pause", "0.03")
    load_and_wait(qtbot, window)
    click(window, "target_diagnose_button")
    bar = find(window, "progress_bar")
    qtbot.waitUntil(lambda: bar.value() > 0, timeout=TIMEOUT_MS)
    assert find(window, "phase_label").text().startswith("Diagnosis: ")
    qtbot.waitUntil(lambda: not window.session.state.is_busy, timeout=TIMEOUT_MS)
    assert find(window, "phase_label").text() == ""
    assert bar.value() == 0
