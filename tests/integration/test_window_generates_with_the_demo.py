"""The demo is pruned and both models continue a prompt."""

from __future__ import annotations

from dataclasses import replace

import psutil
import pytest
from PySide6.QtWidgets import QListWidget

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.messages.generation import Side
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.state.run import Status
from tests.helpers.configs import pruning_config, surgeon_job
from tests.helpers.windows import click, find, find_type, open_tab, run_of

LONG_MS = 280_000  # the whole engine on a slow and busy machine
QUICK = surgeon_job(
    calibration=CalibrationConfig(windows=4, validation_windows=4, window_length=64),
    pruning=pruning_config(sparsity=0.4, shots=1, method=Method.MAGNITUDE),
)


@pytest.mark.runtimes
def test_demo_and_pruned_demo_generate_side_by_side(qtbot, real_window):
    window = real_window
    window.load_config(QUICK)
    start = find(window, "start_button")
    qtbot.waitUntil(start.isEnabled, timeout=LONG_MS)
    start.click()
    qtbot.waitUntil(lambda: not run_of(window).status.is_busy, timeout=LONG_MS)
    assert run_of(window).status is Status.FINISHED, run_of(window).error

    open_tab(window, "playground_tab")
    find(window, "playground_prompt").setPlainText("The import statement")
    find(window, "playground_length").setValue(24)
    click(window, "playground_generate_button")
    question = wait_for_answer(qtbot, window)
    assert question.error is None
    original, pruned = question.response.original, question.response.pruned
    assert pruned.parameters < original.parameters
    assert pruned.tokens_per_second > 0 and pruned.memory_bytes > 0

    state = state_of(window)
    nats = {
        side: [token.disagreement.nats for token in state.tokens(side)] for side in Side
    }
    assert all(value >= 0 for values in nats.values() for value in values)
    assert max(nats[Side.PRUNED]) > 0.01
    lines = find(window, "playground_differences", QListWidget)
    assert lines.isVisible() and lines.count() > 3
    texts = [
        find(window, f"playground_{side.value}_text").toPlainText() for side in Side
    ]
    assert all(text.startswith("The import statement") for text in texts)
    assert texts[0] != texts[1]

    # Again, with models that are still in memory.
    before = set(psutil.Process().children(recursive=True))
    click(window, "playground_generate_button")
    wait_for_answer(qtbot, window)
    assert set(psutil.Process().children(recursive=True)) == before
    assert replace(state_of(window), question=question) == replace(
        state, question=question
    )


def wait_for_answer(qtbot, window):
    def is_over():
        return not state_of(window).question.is_open

    qtbot.waitUntil(is_over, timeout=LONG_MS)
    return state_of(window).question


def state_of(window):
    return find_type(window, Playground).state
