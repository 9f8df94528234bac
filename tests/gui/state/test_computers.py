"""The state and the texts of an engine on another computer."""

from dataclasses import replace
from functools import partial
from pathlib import PureWindowsPath

import pytest
from PySide6.QtWidgets import QLabel

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.events import (
    ConnectionChanged,
    ConnectionStatus,
    EngineReady,
    EngineStarted,
    Envelope,
    Failed,
)
from surgeon_engine.api.messages.machine import Machine, MachineProbed
from surgeon_engine.api.messages.run import Stage, StageStarted
from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_gui.state import app
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import AppState, Engine
from surgeon_gui.state.computers import (
    connection_problem,
    connection_wait,
    machine_text,
    start_folders,
)
from surgeon_gui.state.job import checks, file_formats
from surgeon_gui.state.log_lines import log_lines
from surgeon_gui.state.queue.state import QueueState
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.result_text import clock
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.sources.download import Download
from surgeon_gui.state.sources.reading import needs_download, wait_note
from surgeon_gui.state.sources.search import search_line
from surgeon_gui.state.sources.text import download_title
from surgeon_gui.text.problems import Kind
from surgeon_gui.views.steps.plan_card import PlanCard
from surgeon_gui.window import closing
from tests.helpers.fake_sources import cached

CONFIG = RunConfig(ModelConfig("/models/there"), CalibrationConfig(text="/there.txt"))
READY = EngineReady({}, "")
STARTED = EngineStarted("0.1.0", "gpu-box", "/home/me/runs")


def applied(state, *events):
    for event in events:
        state = app.apply(state, Envelope("", 0.0, event))
    return state


def changed(status, **more):
    return ConnectionChanged(status, "me@box", **more)


def test_files_of_another_computer_are_not_looked_for():
    here = AppState(CONFIG, model_is_chosen=True)
    assert checks.find_problems(CONFIG, None, "/no/folder/here")
    assert not checks.find_problems(CONFIG, None, "/no/folder/here", is_remote=True)
    state = app.with_computer(replace(here, pace=3.0), "me@box")
    assert state.pace == 1.0  # it has its own
    assert state.runs_folder == ""
    assert applied(state, STARTED).runs_folder == "/home/me/runs"
    assert replace(state, remote_runs="/data").runs_folder == "/data"


def test_nothing_is_read_without_a_connection_and_the_texts_say_so():
    waits = "Waiting for the connection with me@box."
    state = app.with_computer(AppState(CONFIG, model_is_chosen=True), "me@box")
    connected = applied(state, changed(ConnectionStatus.CONNECTED))
    failed = applied(state, changed(ConnectionStatus.FAILED, message="No."))
    reading = partial(wait_note, source="demo")
    for text in (connection_wait, reading, search_line):
        assert text(state) == text(failed) == waits
        assert text(connected) != waits
    assert connection_wait(connected) == ""


def test_another_computer_begins_without_what_is_known_of_this_one():
    here = AppState(CONFIG, run=RunState(Status.FINISHED, "run-1"), ready=READY)
    here = replace(here, machine=Machine(1, 1, 0), engine=Engine.READY)
    state = app.with_computer(here, "me@box")
    assert (state.machine, state.ready, state.run) == (None, None, RunState())
    assert state.engine is Engine.STARTING
    assert state.config == CONFIG


def test_watched_run_begins_with_its_first_event():
    run = run_state.requested("run-1", CONFIG, "/first", 9.0)
    run = run_state.apply(run, Envelope("run-1", 5.0, StageStarted(Stage.LOAD, 0)))
    run = run_state.apply(run, Envelope("run-1", 7.0, StageStarted(Stage.TEXT, 0)))
    assert run.seconds(11.0) == 6.0


def test_lost_connection_is_explained_until_it_is_back():
    state = app.with_computer(AppState(), "me@box")
    assert not connection_problem(applied(state, changed(ConnectionStatus.CONNECTING)))
    lost = changed(ConnectionStatus.LOST, message="It was lost.", attempt=2, attempts=8)
    state = replace(state, run=RunState(Status.RUNNING, "run-1"))
    state = applied(state, lost)
    text = connection_problem(state)
    assert text.startswith("It was lost. The run goes on there.")
    assert "2" in text
    obstacle = checks.save_obstacle(replace(state, run=RunState()))
    assert obstacle.kind is Kind.DISCONNECTED
    again = connection_problem(applied(state, changed(ConnectionStatus.CONNECTING)))
    assert again == "It was lost. The run goes on there. Connecting…"
    failed = changed(ConnectionStatus.FAILED, message="Refused.", hint="Check it.")
    assert connection_problem(applied(state, failed)).endswith("Check it.")
    back = applied(state, changed(ConnectionStatus.CONNECTED))
    assert not connection_problem(back)
    assert back.is_connected


def test_cancel_says_for_which_computer_it_waits():
    run = RunState(Status.CANCELLING, "run-1", computer="me@box")
    assert clock(run, 0.0) == "Canceling… Waiting for me@box"
    assert clock(replace(run, computer=""), 0.0) == "Canceling…"
    state = replace(app.with_computer(AppState(), "me@box"), run=run)
    lost = changed(ConnectionStatus.LOST, message="It was lost.", attempt=1, attempts=8)
    text = connection_problem(applied(state, lost))
    assert "The run is canceled once there is a connection." in text
    assert "goes on" not in text


@pytest.mark.parametrize(
    ("status", "is_asked"), [(Status.RUNNING, False), (Status.CANCELLING, True)]
)
def test_window_does_not_close_before_a_cancel_has_arrived(status, is_asked):
    run = RunState(status, "run-1", goes_on=True)
    state = replace(app.with_computer(AppState(), "me@box"), run=run)
    assert closing._is_active(None, state) is is_asked
    text = closing._close_text(None, state, QueueState())
    assert not is_asked or "it goes on" in text.explanation


def test_model_is_offered_for_download_where_the_engine_misses_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    name = hub_name("hf://someone/tiny")
    cached(name)  # on this computer
    config = RunConfig(ModelConfig(str(name)))
    here = AppState(config, model_is_chosen=True)
    there = replace(here, computer="me@box")
    assert not needs_download(there)  # it is being read

    def after(message):
        request = Request("inspect-1", error=Failed(message))
        return app.with_request(there, RequestKind.INSPECTION, request)

    assert needs_download(after(name.not_downloaded))
    assert not needs_download(after("It is a mixture."))
    assert not needs_download(here)


def test_window_names_the_computer_before_its_machine_is_known(qtbot):
    card = PlanCard()
    qtbot.addWidget(card)
    waiting = card.findChild(QLabel, "plan_waiting")
    card.show_state(app.with_computer(AppState(), "me@box"), "")
    assert waiting.text() == "The engine is checking the resources of me@box."
    card.show_state(AppState(), "")
    assert "this machine" in waiting.text()
    title = download_title(Download(), "hf://someone/tiny", "me@box")
    assert title == "someone/tiny is not on me@box"


def test_paths_of_another_computer_are_those_of_posix(monkeypatch):
    for module in (checks, file_formats):  # as on Windows
        monkeypatch.setattr(module, "Path", PureWindowsPath, raising=False)
    run = RunState(Status.FINISHED, "run-1", "/home/me/runs/1", computer="me@box")
    state = replace(app.with_computer(AppState(), "me@box"), run=run)
    assert str(checks.save_destination(state)) == "/home/me/runs/1/transformers"


def test_log_has_the_connection():
    events = [
        changed(ConnectionStatus.CONNECTING),
        changed(ConnectionStatus.LOST, message="It was lost.", hint="Try ssh."),
        changed(ConnectionStatus.CONNECTED),
    ]
    lines = log_lines([Envelope("", 0.0, event) for event in events])
    assert [line.message for line in lines] == [
        "It was lost. Try ssh.",
        "Connected with me@box.",
    ]


def test_results_are_used_on_the_computer_that_has_them():
    state = AppState(run=RunState(Status.FINISHED, "run-1", computer="me@box"))
    assert checks.measure_obstacle(state).kind is Kind.RUN_ELSEWHERE
    state = replace(state, computer="me@box")
    state = applied(state, changed(ConnectionStatus.CONNECTED))
    assert checks.measure_obstacle(state).kind is not Kind.RUN_ELSEWHERE


def test_machine_is_described():
    machine = Machine(64 * 10**9, 60 * 10**9, 0, "RTX 4090", 24 * 10**9, 23 * 10**9)
    state = app.with_computer(AppState(), "me@box")
    text = machine_text(applied(state, STARTED, MachineProbed(machine)))
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("gpu-box, Surgeon 0.1.0; 60.0 GB of 64.0 GB")
    assert "RTX 4090: 23.0 GB of 24.0 GB" in text


@pytest.mark.parametrize(
    ("current", "first"),
    [
        ("/models/tiny", ["/models"]),
        ("/texts/a.txt", ["/texts"]),
        ("/", ["/"]),
        ("~/models/tiny", ["~/models"]),
        ("demo", []),
        ("hf://someone/tiny", []),
        ("someone/tiny", []),
        ("", []),
    ],
)
def test_files_are_looked_for_where_the_chosen_path_is(current, first):
    assert start_folders(current, "") == [*first, "~"]
    assert start_folders(current, "/last") == [*first, "/last", "~"]
