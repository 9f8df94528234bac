"""The demo is pruned on another computer, with the window closed, and copied back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDialog, QLabel, QTreeWidget

from surgeon_engine.api.client import EngineProcess
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.state.run import Status
from tests.helpers.configs import pruning_config, surgeon_job
from tests.helpers.fake_remote import remote_command
from tests.helpers.loopback_ssh import NEEDS_SSH, LoopbackSsh
from tests.helpers.remote import kill_all, wait_until_gone
from tests.helpers.windows import (
    QUICK,
    click,
    close_window,
    find,
    open_remote_window,
    run_of,
)

LONG_MS = 280_000  # the whole engine on a slow and busy machine
JOB = surgeon_job(
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
    window.load_config(JOB)
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
