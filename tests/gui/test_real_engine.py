"""The window with the real engine: runs, an evening, a killed run, another computer."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QMessageBox,
    QPlainTextEdit,
    QTreeWidget,
)

from surgeon_engine.api.client import EngineProcess
from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import Offload
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.messages.generation import Side
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import Step
from surgeon_gui.views.comparison.view import CompareView
from tests.helpers.configs import pruning_config, surgeon_job
from tests.helpers.fake_remote import remote_command
from tests.helpers.loopback_ssh import NEEDS_SSH, LoopbackSsh
from tests.helpers.remote import kill_all, wait_until_gone
from tests.helpers.widget_queries import type_size
from tests.helpers.windows import (
    QUICK,
    click,
    close_window,
    find,
    find_type,
    open_place,
    open_real_window,
    open_remote_window,
    open_step,
    run_of,
    trigger,
)

LONG_MS = 280_000  # the whole engine on a slow and busy machine
SHORT = CalibrationConfig(windows=4, validation_windows=4, window_length=64)
EVENING_JOB = surgeon_job(
    calibration=SHORT,
    pruning=pruning_config(sparsity=0.1, shots=1, method=Method.FIRST_ORDER),
    recovery=RecoveryConfig(Recovery.REFIT, general_windows=0),
)


@pytest.fixture
def open_window(qtbot, tmp_path):
    """Return a function that opens a window with the real engine."""
    windows = []

    def open_it():
        windows.append(open_real_window(tmp_path / "runs"))
        return windows[-1]

    yield open_it
    close_window(windows[-1])


@pytest.fixture
def real_window(open_window):
    return open_window()


def wait_for_the_run(qtbot, window):
    """Wait until the run in progress is over; return it."""
    qtbot.waitUntil(lambda: not run_of(window).status.is_busy, timeout=LONG_MS)
    run = run_of(window)
    assert run.status is Status.FINISHED, run.error
    return run


def statuses(window):
    table = find(window, "queue_table", QTreeWidget)
    rows = range(table.topLevelItemCount())
    return [table.topLevelItem(row).text(1) for row in rows]


def dialogs():
    kinds = QDialog | QMessageBox
    return [x for x in QApplication.topLevelWidgets() if isinstance(x, kinds)]


def show(qtbot, window, folder):
    """Open a run in the window."""
    window.runs.open_run(folder)
    qtbot.waitUntil(lambda: run_of(window).folder == str(folder), timeout=LONG_MS)


def divergence_of(folder):
    report = RunFolder(folder).read_report()
    last = report.recovered or report.shots[-1]
    return last.evaluation.fidelity[0].divergence.value


@pytest.mark.runtimes
@pytest.mark.timeout(900)
def test_sweep_survives_a_closed_window_and_the_best_run_is_exported(
    qtbot, open_window, tmp_path
):
    window = open_window()
    trigger(window, "use_demo_action")
    window.session.draft.load(EVENING_JOB)
    sweep = find(window, "sweep_action", QAction)
    qtbot.waitUntil(sweep.isEnabled, timeout=LONG_MS)
    sweep.trigger()
    find(window, "sweep_values_edit", QLineEdit).setText("10, 20, 30")
    find(window, "sweep_values_edit", QLineEdit).textEdited.emit("10, 20, 30")
    add = find(window, "sweep_add_button")
    qtbot.waitUntil(add.isEnabled, timeout=LONG_MS)
    add.click()
    qtbot.waitUntil(lambda: not [x for x in dialogs() if x.isVisible()])
    assert len(statuses(window)) == 3

    # The first run is made; then the window is closed.
    click(window, "queue_start_button")
    qtbot.waitUntil(lambda: run_of(window).status.is_busy, timeout=LONG_MS)
    click(window, "queue_start_button")  # stop after this run
    qtbot.waitUntil(lambda: run_of(window).status is Status.FINISHED, timeout=LONG_MS)
    assert window.close()  # lets another window have the queue
    close_window(window)

    # The next window offers the rest.
    window = open_window()
    offer = find(window, "queue_resume_button")
    qtbot.waitUntil(offer.isVisible, timeout=LONG_MS)
    click(window, "queue_resume_button")
    view = window.findChild(CompareView)
    qtbot.waitUntil(view.isVisible, timeout=3 * LONG_MS)
    runs = sorted((tmp_path / "runs").glob("*/report.json"))
    assert len(runs) == 3
    assert not [x for x in dialogs() if x.isVisible()]

    # The one that is closest to the original becomes a GGUF file, and is opened again.
    best = min((report.parent for report in runs), key=divergence_of)
    other = next(report.parent for report in runs if report.parent != best)
    show(qtbot, window, best)
    window.session.save()
    qtbot.waitUntil(lambda: bool(window.session.state.shown_run.saved), timeout=LONG_MS)
    show(qtbot, window, other)
    assert not window.session.state.shown_run.saved
    show(qtbot, window, best)
    (saved,) = window.session.state.shown_run.saved
    assert saved.format is Format.GGUF
    assert list((best / "gguf").glob("*.gguf"))
    assert not [x for x in dialogs() if x.isVisible()]


@pytest.mark.slow
@pytest.mark.fresh_process
def test_demo_is_pruned_step_by_step(qtbot, real_window, tmp_path):
    window = real_window
    trigger(window, "use_demo_action")
    open_step(window, Step.CALIBRATION)
    find(window, "calibration_windows").setValue(4)
    find(window, "calibration_validation_windows").setValue(2)
    find(window, "calibration_window_length").setValue(64)
    find(window, "evaluation_windows").setValue(2)
    qtbot.waitUntil(find(window, "preview_button").isEnabled, timeout=LONG_MS)
    click(window, "preview_button")
    preview = find(window, "preview_text", QPlainTextEdit)
    qtbot.waitUntil(lambda: len(preview.toPlainText()) > 100, timeout=LONG_MS)

    open_step(window, Step.TARGET)
    type_size(window, "25 %")
    find(window, "pruning_shots").setValue(2)
    find(window, "recovery_general_windows").setValue(2)

    click(window, "start_button")
    qtbot.waitUntil(lambda: run_of(window).status.is_busy, timeout=LONG_MS)
    run = wait_for_the_run(qtbot, window)
    assert [shot.shot for shot in run.history] == [1, 2]
    assert run.history[-1].sparsity == pytest.approx(0.25, abs=0.03)
    assert run.history[-1].parameters < run.model.parameters
    assert run.recovered.nats_after < run.recovered.nats_before
    assert run.evaluation == run.recovered.evaluation
    report = RunFolder(tmp_path / "runs" / run.folder).read_report()
    exported = report.exported
    assert exported.tokens_compared > 0
    assert 0 < exported.largest_difference < 0.1  # the demo has numbers of 16 bits
    expected = exported.expected_divergence
    assert exported.divergence == pytest.approx(expected, rel=0.05)
    settled = report.config.recovery
    assert settled.level is Recovery.DISTILLATION
    model = replace(run.config.model, offload=Offload.OFF)
    pruning = report.config.pruning
    assert pruning.width_multiple == 1  # automatic before
    pruning = replace(run.config.pruning, width_multiple=1)
    expected = replace(run.config, model=model, pruning=pruning, recovery=settled)
    assert report.config == expected
    window.save_charts(tmp_path)
    for name in ("perplexity", "sparsity"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000


DEMO_JOB = surgeon_job(
    calibration=SHORT,
    pruning=pruning_config(sparsity=0.4, shots=1, method=Method.MAGNITUDE),
)


@pytest.mark.runtimes
def test_demo_and_pruned_demo_generate_side_by_side(qtbot, real_window):
    window = real_window
    window.session.draft.load(DEMO_JOB)
    click(window, "start_button")  # it starts once the model has been read
    qtbot.waitUntil(lambda: run_of(window).status.is_busy, timeout=LONG_MS)
    wait_for_the_run(qtbot, window)

    open_place(window, "playground")
    find(window, "playground_prompt").setPlainText("The import statement")
    find(window, "playground_length").setValue(24)
    click(window, "playground_generate_button")
    question = wait_for_answer(qtbot, window)
    assert question.error is None
    pruned = question.response.pruned
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


KILLED_JOB = surgeon_job(
    calibration=SHORT,
    pruning=pruning_config(sparsity=0.4, shots=3, method=Method.FIRST_ORDER),
    recovery=RecoveryConfig(Recovery.OFF),
)
# A window of its own process, which starts the run at once.
PROGRAM = """
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
window.session.draft.load(read_config(Path(sys.argv[2])))
window.start_run(Path(sys.argv[3]))
application.exec()
"""


@pytest.mark.runtimes
def test_killed_run_is_resumed_by_a_click(qtbot, tmp_path, real_window):
    job, runs = tmp_path / "job.toml", tmp_path / "runs"
    job.write_text(config_to_toml(KILLED_JOB))
    killed = RunFolder(runs / "killed")
    with start_window(runs, job, killed.path) as process:
        wait_for(killed, b'"shot":2', process)
        kill(process)
    assert not killed.report_path.exists()
    assert killed.saved_state.exists

    window = real_window
    window.runs.runs.refresh()
    offer = find(window, "resume_run_button")
    qtbot.waitUntil(offer.isVisible, timeout=LONG_MS)
    click(window, "resume_run_button")
    qtbot.waitUntil(lambda: run_of(window).status.is_busy, timeout=LONG_MS)
    run = wait_for_the_run(qtbot, window)
    assert [shot.shot for shot in run.history] == [1, 2, 3]
    assert not offer.isVisible()
    assert not killed.saved_state.path.exists()
    assert killed.read_report().exported.agreement == 1


def start_window(*arguments):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command)


def wait_for(run, text, process):
    """Wait until the log of a run holds a text."""
    until = time.monotonic() + LONG_MS / 1000
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


REMOTE_JOB = surgeon_job(
    calibration=replace(QUICK.calibration, batch=1),
    evaluation=EvaluationConfig(windows=0),
    pruning=pruning_config(sparsity=0.3, shots=12, method=Method.FIRST_ORDER),
)


@pytest.fixture
def make_remote_window(qtbot, tmp_path, monkeypatch):
    ssh_server = LoopbackSsh(tmp_path / "sshd")
    monkeypatch.setenv("PATH", f"{ssh_server.bin}:{os.environ['PATH']}")
    command = remote_command(tmp_path / "there", module="surgeon_engine")
    windows = []

    def make():
        runs = tmp_path / "runs"
        windows.append(open_remote_window(runs, "loopback", command, EngineProcess))
        return windows[-1]

    yield make
    for window in windows:
        close_window(window)
    kill_all(tmp_path / "there")
    ssh_server.close()


@NEEDS_SSH
@pytest.mark.runtimes
def test_demo_is_pruned_there_and_copied_back(qtbot, make_remote_window, tmp_path):
    window = make_remote_window()
    window.session.draft.load(REMOTE_JOB)
    qtbot.waitUntil(lambda: not window.session.start_obstacle(), timeout=LONG_MS)
    click(window, "start_button")
    qtbot.waitUntil(lambda: bool(run_of(window).history), timeout=LONG_MS)
    folder = Path(run_of(window).folder)
    assert folder.is_relative_to(tmp_path / "there")
    window.close()
    assert RunFolder(folder).is_being_worked_on

    window = make_remote_window()
    qtbot.waitUntil(lambda: run_of(window).status is Status.FINISHED, timeout=LONG_MS)
    run = run_of(window)
    assert [shot.shot for shot in run.history] == list(range(1, 13))
    report = RunFolder(folder).read_report()
    assert run.history == report.shots
    find(window, "computers_action", QAction).trigger()
    dialog = find(window, "computers_dialog", QDialog)
    listed = find(dialog, "computers_runs_list", QTreeWidget)
    qtbot.waitUntil(lambda: listed.topLevelItemCount() == 1, timeout=LONG_MS)
    listed.setCurrentItem(listed.topLevelItem(0))
    click(dialog, "computers_fetch_button")
    copy = tmp_path / "runs" / folder.name
    qtbot.waitUntil(copy.is_dir, timeout=LONG_MS)
    note = find(dialog, "computers_runs_note", QLabel)
    qtbot.waitUntil(lambda: note.text() == f"Copied to {copy}", timeout=LONG_MS)
    assert RunFolder(copy).read_report().shots == report.shots
    weights = "export/model.safetensors"
    assert (copy / weights).read_bytes() == (folder / weights).read_bytes()
    dialog.accept()
    window.close()
    wait_until_gone(tmp_path / "there")
