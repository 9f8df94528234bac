"""The strip says what the engine does, also if that is no run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgeon_engine.api.messages.run import Progressed, Stage, StageStarted
from surgeon_gui.state import request as request
from surgeon_gui.state.active_task import active_task
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import Request
from tests.helpers.windows import TIMEOUT_MS, click, find, load_and_wait


@pytest.mark.parametrize(
    ("name", "stage", "words"),
    [
        ("diagnosis", Stage.CURVATURE, "Diagnosis: "),
        ("save", Stage.EXPORT, "Saving in another format: "),
        ("measurement", Stage.MEASUREMENT, "Measuring speed: "),
    ],
)
def test_it_is_named_with_how_far_it_is(name, stage, words):
    asked = request.with_response(Request("it"), StageStarted(stage, 0))
    begun = active_task(AppState(**{name: asked}))
    asked = request.with_response(asked, Progressed(stage, 0, 3, 8))
    further = active_task(AppState(**{name: asked}))
    assert further.words.startswith(words)
    assert further.words.endswith("4 of 8")
    assert begun.share < further.share < 1
    ending = active_task(AppState(**{name: request.cancelling(asked)}))
    assert ending.words == f"{words}cancelling…"
    assert active_task(AppState(**{name: replace(asked, is_cancelled=True)})) is None


def test_the_strip_shows_it_and_then_the_run_again(qtbot, make_window):
    window = make_window("--pause", "0.03")
    load_and_wait(qtbot, window)
    click(window, "target_diagnose_button")
    bar = find(window, "progress_bar")
    qtbot.waitUntil(lambda: bar.value() > 0, timeout=TIMEOUT_MS)
    assert find(window, "phase_label").text().startswith("Diagnosis: ")
    qtbot.waitUntil(lambda: not window.session.state.is_busy, timeout=TIMEOUT_MS)
    assert find(window, "phase_label").text() == ""
    assert bar.value() == 0
