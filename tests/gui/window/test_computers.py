"""The engine on another computer, connected by a fake ssh or a server on loopback."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDialog, QLabel, QLineEdit, QPushButton, QTreeWidget

from surgeon_engine.api import remote
from surgeon_engine.api.messages.commands import ResumeRun
from surgeon_engine.api.messages.events import ConnectionStatus
from surgeon_engine.api.messages.files import RunEntry, RunOutcome
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.controllers.computers import ComputersController
from surgeon_gui.state.app import Engine
from surgeon_gui.state.run import RunState, Status
from tests.helpers.fake_remote import remote_command
from tests.helpers.loopback_ssh import NEEDS_SSH, LoopbackSsh
from tests.helpers.remote import kill_all, processes, wait_until_gone
from tests.helpers.windows import (
    LONG,
    QUICK,
    click,
    close_window,
    find,
    find_type,
    open_remote_window,
    run_of,
    trigger,
)

pytestmark = pytest.mark.waits

FAKE_SSH = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\neval "$3"\n'
BOX = "me@box"
LONG_MS = 90_000  # three processes start, one after the other, on a busy machine


@pytest.fixture
def fake_ssh(tmp_path, monkeypatch):
    """Let ssh run its command on this computer."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(FAKE_SSH)
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def ssh_server(tmp_path, monkeypatch):
    ssh_server = LoopbackSsh(tmp_path / "sshd")
    monkeypatch.setenv("PATH", f"{ssh_server.bin}:{os.environ['PATH']}")
    yield ssh_server
    ssh_server.close()


@pytest.fixture
def make_remote_window(make_window, tmp_path):
    """Return a factory of windows that use a computer, whose state is in `there`."""
    windows = []

    def make(*options, host=BOX, command=""):
        command = command or remote_command(tmp_path / "there", *options)
        windows.append(open_remote_window(tmp_path / "runs", host, command))
        return windows[-1]

    yield make
    for window in windows:
        close_window(window)
    kill_all(tmp_path / "there")


def wait(qtbot, condition):
    qtbot.waitUntil(condition, timeout=LONG_MS)


def load_and_wait(qtbot, window, config=QUICK):
    """Load a job and wait until it can be started."""
    window.session.draft.load(config)
    wait(qtbot, lambda: not window.session.start_obstacle())


def wait_for_status(qtbot, window, status):
    """Wait until the run has that status."""
    wait(qtbot, lambda: run_of(window).status is status)


def open_computers(window):
    """Open the dialog and return it."""
    find(window, "computers_action", QAction).trigger()
    return find(window, "computers_dialog", QDialog)


def select(tree, text):
    """Select the row that shows a text in its first column."""
    items = [tree.topLevelItem(index) for index in range(tree.topLevelItemCount())]
    (item,) = [each for each in items if each.text(0) == text]
    tree.setCurrentItem(item)
    return item


def test_run_goes_on_when_the_window_is_closed(
    qtbot, fake_ssh, make_remote_window, tmp_path
):
    window = make_remote_window("--pause", "0.05")
    load_and_wait(qtbot, window, LONG)
    assert find(window, "sidebar_computers_button").text() == BOX
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    folder = run_of(window).folder
    assert folder.startswith(str(tmp_path / "there" / "data"))
    assert run_of(window).computer == BOX
    window.close()  # asks nothing: the run goes on
    assert not window.isVisible()
    assert RunFolder(tmp_path / folder).is_being_worked_on

    window = make_remote_window()
    wait_for_status(qtbot, window, Status.RUNNING)
    assert run_of(window).folder == folder
    assert run_of(window).config == LONG
    wait(qtbot, lambda: bool(run_of(window).history))
    trigger(window, "pause_action")
    wait_for_status(qtbot, window, Status.PAUSED)
    trigger(window, "pause_action")
    trigger(window, "stop_action")
    wait_for_status(qtbot, window, Status.FINISHED)
    window.close()
    wait_until_gone(tmp_path / "there")


def test_window_connects_again_and_follows_the_run(
    qtbot, fake_ssh, make_remote_window, tmp_path, monkeypatch
):
    monkeypatch.setattr(remote, "RETRY_SECONDS", (60.0,))
    window = make_remote_window("--pause", "0.01")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    wait(qtbot, lambda: bool(run_of(window).history))
    engines = [
        each for each in processes(tmp_path / "there") if each.cmdline()[-1] == "serve"
    ]
    for each in engines:
        each.kill()
    bar = find(window, "connection_label", QLabel)
    wait(qtbot, lambda: "The run goes on there." in bar.text())
    click(window, "connection_again_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    assert len(run_of(window).history) == QUICK.pruning.shots
    assert not bar.isVisible()


def test_run_of_this_computer_outlives_its_window(qtbot, make_window):
    options = ("--pause", "0.05")
    window = make_window(*options)
    window.session.runs_go_on = True
    load_and_wait(qtbot, window, LONG)
    click(window, "start_button")
    wait(qtbot, lambda: bool(run_of(window).history))
    folder = run_of(window).folder
    window.close()  # asks nothing
    assert not window.isVisible()
    window = make_window(*options)
    wait(qtbot, lambda: bool(run_of(window).history))
    assert run_of(window).folder == folder
    assert run_of(window).config == LONG
    window.session.cancel()
    wait_for_status(qtbot, window, Status.CANCELLED)
    assert not RunFolder(Path(folder)).is_being_worked_on


def test_missing_surgeon_is_explained_and_this_computer_can_be_chosen(
    qtbot, fake_ssh, make_remote_window
):
    window = make_remote_window(command="no-such-surgeon")
    state = window.session
    wait(
        qtbot,
        lambda: (
            state.state.connection is not None
            and state.state.connection.status is ConnectionStatus.FAILED
        ),
    )
    assert "There is no Surgeon on" in find(window, "connection_label", QLabel).text()
    window.session.draft.load(QUICK)
    line = find(window, "model_line", QLabel)
    wait(qtbot, lambda: BOX in line.text())  # and not that it is being read
    plan = find(window, "plan_warning", QLabel)
    wait(qtbot, lambda: BOX in plan.text())
    dialog = open_computers(window)
    assert BOX in find(dialog, "computers_runs_note", QLabel).text()
    click(window, "connection_here_button")
    wait(qtbot, lambda: window.session.state.engine is Engine.READY)
    assert not window.session.state.computer
    assert window.settings.computer == ""
    select(find(dialog, "computers_list", QTreeWidget), BOX)
    click(dialog, "computers_remove_button")
    assert window.settings.computers == []
    dialog.accept()
    load_and_wait(qtbot, window)


def test_computer_in_use_is_tried_again_when_its_command_is_corrected(
    qtbot, fake_ssh, make_remote_window, tmp_path
):
    window = make_remote_window(command="no-such-surgeon")
    bar = find(window, "connection_label", QLabel)
    wait(qtbot, lambda: "add the computer again" in bar.text())
    dialog = open_computers(window)
    find(dialog, "computers_host_edit", QLineEdit).setText(BOX)
    command = remote_command(tmp_path / "there")
    find(dialog, "computers_command_edit", QLineEdit).setText(command)
    click(dialog, "computers_add_button")
    wait(qtbot, lambda: window.session.state.engine is Engine.READY)
    assert window.session.state.computer == BOX
    dialog.accept()
    kill_all(tmp_path / "there")


def test_run_in_progress_there_is_followed_and_not_resumed(
    window, monkeypatch, tmp_path
):
    folder, followed = str(tmp_path / "a"), []
    monkeypatch.setattr(window.session, "follow_run", lambda *run: followed.append(run))
    run = RunEntry(folder, "a", RunOutcome.RUNNING, 0.0, 1, 0, QUICK)
    find_type(window, ComputersController).resume(run)
    assert followed == [(folder, QUICK)]


def test_interrupted_run_there_is_resumed(window, monkeypatch):
    sent, session = [], window.session
    monkeypatch.setattr(session.store, "send", sent.append)
    session.store.set(replace(session.state, computer=BOX))
    run = RunEntry("/there/a", "a", RunOutcome.INTERRUPTED, 0.0, 1, 0, QUICK)
    find_type(window, ComputersController).resume(run)
    (command,) = [each for each in sent if isinstance(each, ResumeRun)]
    assert (command.folder, command.detached) == ("/there/a", True)
    assert session.state.run.computer == BOX
    session.store.set(replace(session.state, computer="", run=RunState()))


def test_computer_is_added_and_models_are_chosen_by_path(
    qtbot, fake_ssh, make_window, tmp_path
):
    window = make_window()
    dialog = open_computers(window)
    host = find(dialog, "computers_host_edit", QLineEdit)
    host.setText("-oProxyCommand=x")
    click(dialog, "computers_add_button")
    problem = find(dialog, "computers_problem", QLabel)
    assert "is no name of a computer" in problem.text()
    host.setText(BOX)
    command = remote_command(tmp_path / "there")
    find(dialog, "computers_command_edit", QLineEdit).setText(command)
    click(dialog, "computers_add_button")
    assert problem.text() == ""
    click(dialog, "computers_use_button")
    wait(qtbot, lambda: window.session.state.engine is Engine.READY)
    wait(qtbot, lambda: window.session.state.machine is not None)
    machine = find(dialog, "computers_machine_label", QLabel).text()
    assert os.uname().nodename in machine
    dialog.accept()
    explanation = find(window, "empty_explanation_label", QLabel).text()
    assert "this computer" not in explanation

    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "config.json").write_text("{}")
    trigger(window, "open_folder_action")
    files = find(window, "files_dialog", QDialog)
    path = find(files, "files_path_edit", QLineEdit)
    tree = find(files, "files_list", QTreeWidget)
    assert window.session.state.computer in files.windowTitle()
    wait(qtbot, lambda: path.text().startswith("/"))
    path.setText(str(tmp_path / "models"))
    path.returnPressed.emit()
    wait(qtbot, lambda: tree.topLevelItemCount() == 1)
    select(tree, "tiny")
    click(files, "files_choose_button")
    source = str(tmp_path / "models" / "tiny")
    wait(qtbot, lambda: window.session.state.model is not None)
    assert window.session.state.config.model.source == source
    assert source not in window.settings.recent_models
    kill_all(tmp_path / "there")


@NEEDS_SSH
def test_run_is_copied_from_there(qtbot, ssh_server, make_remote_window, tmp_path):
    window = make_remote_window(host="loopback")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    there = run_of(window).folder
    export = RunFolder(tmp_path / there).path / "export"
    (export / "model.safetensors").write_bytes(b"weights")
    dialog = open_computers(window)
    runs = find(dialog, "computers_runs_list", QTreeWidget)
    wait(qtbot, lambda: runs.topLevelItemCount() == 1)
    name = Path(there).name
    select(runs, name)
    click(dialog, "computers_fetch_small_button")
    copy = tmp_path / "runs" / name
    wait(qtbot, copy.is_dir)
    assert (copy / "events.jsonl").is_file()
    assert not (copy / "export").exists()
    RunFolder(copy).path.rename(tmp_path / "other")
    wait(qtbot, find(dialog, "computers_fetch_button", QPushButton).isEnabled)
    click(dialog, "computers_fetch_button")
    wait(qtbot, copy.is_dir)
    assert (copy / "export" / "model.safetensors").read_bytes() == b"weights"
    assert sorted(each.name for each in (tmp_path / "runs").iterdir()) == [name]
    wait(qtbot, find(dialog, "computers_fetch_button", QPushButton).isEnabled)
    click(dialog, "computers_fetch_button")
    wait(qtbot, lambda: window.session.state.notice is not None)
    assert "exists already" in window.session.state.notice.message
    assert "exists already" in find(dialog, "computers_runs_note", QLabel).text()
    dialog.accept()
    window.close()
    wait_until_gone(tmp_path / "there")
