"""However much the engine tells, the window answers, and every point is kept."""

from __future__ import annotations

import gc
import time

import pytest
from PySide6.QtCore import QTimer

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Stage
from surgeon_gui.state.run import Status
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import STAGES_OF_A_SHOT
from tests.helpers.fake_live import KINDS_OF_FLOOD, SAMPLES_IN_TEN
from tests.helpers.windows import find, load_and_wait, run_of

RATE = 5_000  # events a second
LONGEST_GAP = 0.25  # seconds of work for which the window answers nobody
ATTEMPTS = 3  # a window that gets no processor finds more to do at once
ONE_SHOT = RunConfig(
    calibration=CalibrationConfig(windows=8, validation_windows=4, window_length=64),
    pruning=pruning_config(sparsity=0.3, shots=1),
)
FLOODS = STAGES_OF_A_SHOT.count(Stage.CURVATURE)


class Pulse:
    """Notes the most work between two rounds of the event loop.

    In processor time of all threads: those that hold the interpreter keep the window
    waiting as well, and what else the machine does is not the window's fault.
    """

    def __init__(self):
        self.longest = 0.0
        self._last = time.process_time()
        self._timer = QTimer()
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self):
        now = time.process_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now

    def stop(self):
        self._timer.stop()
        return self.longest


@pytest.fixture(autouse=True)
def frozen():
    """As the program does it once its window is made."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def flooded(qtbot, make_window, seconds):
    """The longest gap in a run with floods of so many seconds in all; its window."""
    each = seconds / FLOODS
    window = make_window("--flood-seconds", str(each), "--rate", str(RATE))
    load_and_wait(qtbot, window, ONE_SHOT)
    window.start_run()
    pulse = Pulse()

    def has_ended():
        return run_of(window).status is Status.FINISHED

    qtbot.waitUntil(has_ended, timeout=round(1000 * (10 * seconds + 20)))
    return pulse.stop(), window


def check(qtbot, make_window, seconds):
    gap, window = flooded(qtbot, make_window, seconds)
    samples = int(RATE * seconds / FLOODS) * SAMPLES_IN_TEN // KINDS_OF_FLOOD
    expected = FLOODS * samples + len(STAGES_OF_A_SHOT)
    assert len(run_of(window).memory) == expected
    assert len(find(window, "memory_chart").rows()) == expected + 1
    for _ in range(ATTEMPTS - 1):
        if gap > LONGEST_GAP:
            gap, _window = flooded(qtbot, make_window, seconds)
    assert gap <= LONGEST_GAP


def test_a_flood_of_two_seconds_loses_no_point_and_does_not_block_the_window(
    qtbot, make_window
):
    check(qtbot, make_window, 2)


@pytest.mark.slow
def test_a_flood_of_ten_seconds_does_not_either(qtbot, make_window):
    check(qtbot, make_window, 10)
