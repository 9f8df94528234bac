"""The window and its engine are killed in the middle of a run; the next one goes on."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.state.run import Status
from tests.helpers.configs import pruning_config, surgeon_job
from tests.helpers.windows import click, find, run_of

LONG_S = 240  # for the whole engine on a slow and busy machine
JOB = surgeon_job(
    calibration=CalibrationConfig(windows=4, validation_windows=4, window_length=64),
    pruning=pruning_config(sparsity=0.4, shots=3, method=Method.FIRST_ORDER),
    recovery=RecoveryConfig(Recovery.OFF),
)
# A window of its own process, which starts the run at once.
WINDOW = """
import sys
from pathlib import Path
from surgeon_engine.api.config.toml import read_config
from surgeon_gui.app import make_application
from surgeon_gui.base.settings import Settings
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.window.main_window import MainWindow

application = make_application([])
engine = EngineThread()
engine.start()
window = MainWindow(engine, Settings(), Path(sys.argv[1]))
window.load_config(read_config(Path(sys.argv[2])))
window.start_run(Path(sys.argv[3]))
application.exec()
"""


@pytest.mark.runtimes
def test_killed_run_is_resumed_by_a_click(qtbot, tmp_path, real_window):
    job, runs = tmp_path / "job.toml", tmp_path / "runs"
    job.write_text(config_to_toml(JOB))
    killed = RunFolder(runs / "killed")
    with open_window(runs, job, killed.path) as process:
        wait_for(killed, b'"shot":2', process)
        kill(process)
    assert not killed.report_path.exists()
    assert killed.saved_state.exists

    window = real_window
    find(window, "runs_refresh_button").click()
    offer = find(window, "resume_run_button")
    qtbot.waitUntil(offer.isVisible, timeout=1000 * LONG_S)
    click(window, "resume_run_button")
    qtbot.waitUntil(lambda: run_of(window).status.is_busy, timeout=1000 * LONG_S)
    qtbot.waitUntil(lambda: not run_of(window).status.is_busy, timeout=1000 * LONG_S)
    run = run_of(window)
    assert run.status is Status.FINISHED, run.error
    assert [shot.shot for shot in run.history] == [1, 2, 3]
    assert not offer.isVisible()
    assert not killed.saved_state.path.exists()
    assert killed.read_report().exported.agreement == 1


def open_window(*arguments):
    command = [sys.executable, "-c", WINDOW, *map(str, arguments)]
    return subprocess.Popen(command)


def wait_for(run, text, process):
    """Wait until the log of a run holds a text."""
    until = time.monotonic() + LONG_S
    while not (run.events_path.exists() and text in run.events_path.read_bytes()):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.002)


def kill(process):
    """Kill a process and all that it has started, at once."""
    descendants = psutil.Process(process.pid).children(recursive=True)
    for each in (process, *descendants):
        each.kill()
    process.wait()
    psutil.wait_procs(descendants)
