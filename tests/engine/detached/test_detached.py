"""Detached runs, with a fake engine and an ssh that stays here."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from random import Random

import msgspec
import psutil
import pytest

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.litter import log_cancel
from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.commands import (
    Cancel,
    Generate,
    InspectModel,
    Pause,
    Resume,
    ResumeRun,
    StartRun,
    StopAndKeep,
    Watch,
)
from surgeon_engine.api.messages.events import (
    Cancelled,
    EngineReady,
    Envelope,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_engine.api.messages.run import (
    Paused,
    Progressed,
    Resumed,
    RunFinished,
    RunResumed,
    RunStarted,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.api.remote import RemoteEngine
from surgeon_engine.api.run_commands import add_command, find_start, obeyed_commands
from surgeon_engine.api.run_folder import LOG_HEADER, RunFolder
from surgeon_engine.base import process_lock
from surgeon_engine.base.errors import ProcessError, RunFolderError, UnreadableFileError
from surgeon_engine.base.path_problems import unwritable
from surgeon_engine.base.process_lock import this_process
from surgeon_engine.base.sealed_json import decode_sealed_line
from surgeon_engine.base.ssh import Computer
from surgeon_engine.detached import watch as watch_module
from surgeon_engine.detached.process import do_run
from surgeon_engine.detached.start import start_run
from surgeon_engine.detached.watch import RunWatch
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary, shot_finished
from tests.helpers.fake_remote import LOCAL_SSH, remote_command
from tests.helpers.fake_runs import write_run, write_saved_state
from tests.helpers.remote import SECONDS, kill_all, receive_until, wait_until_gone

pytestmark = pytest.mark.waits

QUICK = RunConfig(pruning=pruning_config(sparsity=0.3, shots=3))
LONG = replace(QUICK, pruning=replace(QUICK.pruning, shots=50))
RETRIES = (0.05,) * 20


@pytest.fixture
def connect(tmp_path):
    clients = []

    def make(*options):
        computer = Computer("here", remote_command(tmp_path, *options))
        clients.append(RemoteEngine(computer, LOCAL_SSH, RETRIES))
        return clients[-1]

    yield make
    for client in clients:
        client.kill()
    kill_all(tmp_path)


@pytest.fixture
def run(tmp_path):
    """Return a run with a log, on which no process works."""
    run = RunFolder(tmp_path / "run")
    with run.created(QUICK):
        pass
    return run


@pytest.fixture
def at_once(monkeypatch):
    """Let the end of a log be its end."""
    monkeypatch.setattr(watch_module, "_LAST_SECONDS", 0.0)


def start(tmp_path, config=QUICK):
    folder = str(tmp_path / "run")
    return StartRun(run="run-1", config=config, folder=folder, detached=True)


def log(run, *events):
    for at, event in enumerate(events):
        run.append(Envelope("run-0", float(at), event))


def cut(client):
    """End the connection of a client as a broken network does.

    The processes that the engine has put into other groups, the runs, are left alone.
    """
    os.killpg(client._process.pid, signal.SIGKILL)


def kinds(events):
    return [type(event) for event in events]


@pytest.mark.slow
def test_events_arrive_once_however_often_the_connection_breaks(connect, tmp_path):
    """Also where it breaks before the command has arrived."""
    random, client = Random(0), connect("--pause", "0.02")
    client.send(start(tmp_path))
    received, cuts = [], 0
    deadline = time.monotonic() + 4 * SECONDS  # each connection loads the engine anew
    while not received or not isinstance(received[-1], RunFinished):
        assert time.monotonic() < deadline
        until = time.monotonic() + random.uniform(0.0, 1.5)
        while time.monotonic() < until:
            if (envelope := client.receive(0.05)) and envelope.run:
                received.append(envelope.event)
                assert not isinstance(envelope.event, Failed)
        if client._is_connected and cuts < 3:
            cut(client)
            cuts += 1
    assert cuts
    lines = list(RunFolder(tmp_path / "run").log_lines())
    logged = [decode_sealed_line(line, Envelope).event for line in lines]

    def lasting(events):  # progress may be left out
        return [each for each in events if not isinstance(each, Progressed)]

    assert lasting(received) == lasting(logged)
    client.kill()
    wait_until_gone(tmp_path)


@pytest.mark.slow
def test_several_clients_watch_and_control_one_run(connect, tmp_path):
    first, second = connect("--pause", "0.02"), connect()
    first.send(start(tmp_path, LONG))
    receive_until(first, ShotFinished)
    second.send(Watch(run="watch", folder=str(tmp_path / "run")))
    seen = receive_until(second, ShotFinished)
    assert kinds(seen).count(RunStarted) == 1
    for command, event in ((Pause, Paused), (Resume, Resumed), (StopAndKeep, None)):
        second.send(command(run="watch"))
        for client in (first, second):
            receive_until(client, event or RunFinished)
    second.send(InspectModel(run="inspect", model=QUICK.model))
    receive_until(second, ModelInspected)


@pytest.mark.slow
def test_run_that_ignores_a_cancel_is_ended(connect, tmp_path):
    client = connect("--mishap", "hang", "--at", "load", "--cancel", "0.5")
    client.send(start(tmp_path))
    receive_until(client, StageStarted)
    client.send(Cancel(run="run-1"))
    assert kinds(receive_until(client, Cancelled)).count(Failed) == 0
    assert kinds(x.event for x in watched(RunFolder(tmp_path / "run")))[-1] is Cancelled
    client.kill()
    wait_until_gone(tmp_path)


@pytest.mark.slow
def test_crash_is_reported_with_the_output_of_the_run(connect, tmp_path):
    client = connect("--mishap", "crash", "--at", "curvature")
    client.send(start(tmp_path))
    failed = receive_until(client, Failed)[-1]
    assert "its process was killed" in failed.message
    assert "made-up kernel" in failed.details


@pytest.mark.slow
def test_resumed_run_sends_all_its_events_but_the_earlier_end(connect, run):
    log(run, StageStarted(Stage.CURVATURE, 1), shot_finished(1, 3, 0.3), Cancelled())
    run.commands_path.write_text('{"type":"Cancel","run":"run-0"}\n')  # is over
    write_saved_state(run.path)
    client = connect()
    client.send(ResumeRun(run="run-1", folder=str(run.path), detached=True))
    received = kinds(receive_until(client, RunFinished))
    assert received.count(RunResumed) == 1
    assert received.index(ShotFinished) < received.index(RunResumed)
    assert Cancelled not in received


@pytest.mark.slow
def test_request_that_begins_once_is_not_repeated(connect, tmp_path):
    client = connect("--pause", "0.5")
    settings = GenerationSettings()
    texts = {"original": "a", "pruned": "b", "prompt": "c", "settings": settings}
    client.send(Generate(run="text", **texts))
    receive_until(client, EngineReady)
    client.send(InspectModel(run="inspect", model=QUICK.model))
    cut(client)
    failed = receive_until(client, Failed)[-1]
    assert "connection was lost" in failed.message
    receive_until(client, ModelInspected)


def test_occupied_folder_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="exists already"):
        start_run(start(tmp_path))
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_home_of_the_user_stands_for_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    command = msgspec.structs.replace(start(tmp_path), folder="~/run")
    with pytest.raises(ProcessError):
        start_run(command, ("false",))
    found, _ = find_start(RunFolder(tmp_path / "run"), "run-1")
    assert found.folder == str(tmp_path / "run")


@pytest.mark.slow
def test_second_process_is_refused_and_the_first_goes_on(run):
    write_saved_state(run.path)
    run.output_path.write_text("of the first")
    with run.locked():
        with pytest.raises(Exception, match="has been working on the run"):
            start_run(ResumeRun(run="run-9", folder=str(run.path), detached=True))
        assert run.is_being_worked_on
    assert run.output_path.read_text() == "of the first"


def test_refused_detached_run_says_why_to_whoever_comes_later(tmp_path):
    impossible = replace(QUICK, model=replace(QUICK.model, source="/no/such/model"))
    command, run = start(tmp_path, impossible), RunFolder(tmp_path / "run")
    run.path.mkdir()
    add_command(run, command)
    with run.created(command.config):
        do_run(command, run, run.commands_path.stat().st_size)
    for _ in range(2):
        events = [each.event for each in RunWatch(run).events()]
        assert "/no/such/model" in events[-1].message
        assert kinds(events).count(Failed) == 1
        start_run(command)  # has no effect


# following a log


def watched(run, offset=0):
    return list(RunWatch(run, offset).events())


def test_watch_goes_on_at_the_offset_of_any_event(run, at_once):
    log(run, StageStarted(Stage.LOAD, 0), shot_finished(1, 1, 0.3), Cancelled())
    everything = watched(run)
    for number, envelope in enumerate(everything[:-1], 1):
        assert watched(run, envelope.offset) == everything[number:]


def test_watched_run_names_its_folder_after_it_was_moved(run, at_once):
    started = RunStarted("elsewhere", 3, model_summary(), "a processor", 1, 1)
    log(run, started, Cancelled())
    assert watched(run)[0].event.folder == str(run.path)


def test_watch_leaves_out_ends_after_which_the_run_goes_on(run, at_once):
    finished = RunFinished(True, 1.0, 1)
    measured = Measured((), 1, 1, 1, 1, "a processor")
    stage = StageStarted(Stage.LOAD, 0)
    log(run, stage, Cancelled(), stage, RunResumed(0, 1.0), finished, measured)
    found = [each.event for each in watched(run)]
    assert found == [stage, stage, RunResumed(0, 1.0), measured, finished]


def test_watch_leaves_out_progress_that_later_progress_replaces(run, at_once):
    progress = [Progressed(Stage.UPDATE, 1, done, 9) for done in range(5)]
    log(run, *progress, Cancelled())
    assert [each.event for each in watched(run)] == [progress[-1], Cancelled()]


def test_log_that_is_cut_off_or_damaged_is_followed_as_far_as_it_goes(run, at_once):
    run.events_path.write_bytes(LOG_HEADER + b'{"damaged\n')
    log(run, StageStarted(Stage.LOAD, 0))
    with run.events_path.open("ab") as file:
        file.write(b'{"run":"a","at":1.0,"ev')
    logged, stage, crash = [each.event for each in watched(run)]
    assert isinstance(logged, Logged)
    assert logged.level is Level.WARNING
    assert isinstance(stage, StageStarted)
    assert isinstance(crash, Failed)


def test_full_disk_is_the_reason_why_the_log_lacks_the_end(run, at_once):
    full = OSError(errno.ENOSPC, "No space left on device")
    problem = Logged(Level.WARNING, unwritable(run.events_path, full))
    log(run, problem, StageStarted(Stage.LOAD, 0))
    assert problem.message.rstrip(".") in watched(run)[-1].event.message
    log(run, RunResumed(0, 1.0))  # it has got over it
    assert problem.message.rstrip(".") not in watched(run)[-1].event.message


def test_complete_run_is_finished_without_the_end_of_its_log(tmp_path, at_once):
    run = RunFolder(write_run(tmp_path))
    lines = run.events_path.read_bytes().splitlines(keepends=True)
    run.events_path.write_bytes(b"".join(lines[:-3]))
    *_, warning, end = [each.event for each in watched(run)]
    assert isinstance(warning, Logged) and isinstance(end, RunFinished)
    assert end.seconds == run.read_report().seconds


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_log_that_is_no_file_is_refused(run, kind):
    make = {"pipe": os.mkfifo, "folder": os.mkdir}
    make.get(kind, lambda path: path.symlink_to("/dev/zero"))(run.events_path)
    with pytest.raises(UnreadableFileError):
        watched(run)


def test_only_a_process_that_has_the_lock_open_is_killed(run, tmp_path):
    """Check that a run of a stranger cannot name a process to end."""
    other = subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE)
    with run.locked():
        created = process_lock._created(psutil.Process(other.pid))
        here = this_process()
        holder = msgspec.structs.replace(here, pid=other.pid, created=created)
        run.process_path.write_bytes(msgspec.json.encode(holder))
        assert run.use.holder.is_alive_here
        watch_module._kill(run)
        assert other.poll() is None
    other.communicate(b"\n")


@pytest.mark.parametrize("has_begun", [True, False])
def test_run_whose_process_was_killed_keeps_its_folder_if_it_had_begun(run, has_begun):
    started = RunStarted("folder", 3, model_summary(), "a processor", 1, 1)
    log(run, StageStarted(Stage.LOAD, 0), *[started] * has_begun)
    log_cancel(run)
    assert run.path.exists() is has_begun
    if has_begun:
        *_, last = run.log_lines()
        assert decode_sealed_line(last, Envelope).event == Cancelled()


# commands


def obeyed(run, *later, start=None):
    """Return the commands that a process obeys while some are added."""
    found = []
    with obeyed_commands(run, found.append, start):
        for each in later:
            add_command(run, each)
        until = time.monotonic() + SECONDS
        while len(found) < len(later) and time.monotonic() < until:
            time.sleep(0.01)
    return found


def test_commands_before_the_process_are_ignored(run):
    add_command(run, Cancel(run="a"))
    assert obeyed(run, Pause(run="b"), Resume(run="c")) == [
        Pause(run="b"),
        Resume(run="c"),
    ]


def test_commands_follow_the_line_that_starts_the_run(run, tmp_path):
    add_command(run, Cancel(run="a"))
    add_command(run, start(tmp_path))
    add_command(run, Pause(run="b"))
    command, position = find_start(run, "run-1")
    assert command == start(tmp_path)
    assert obeyed(run, Resume(run="c"), start=position)[0] == Pause(run="b")


def test_line_of_a_command_that_was_cut_off_harms_no_other(run):
    run.commands_path.write_bytes(b'{"type":"Canc')
    assert obeyed(run, Pause(run="b")) == [Pause(run="b")]


def test_commands_that_are_no_file_are_none(run):
    os.mkfifo(run.commands_path)
    with pytest.raises(UnreadableFileError):
        add_command(run, Cancel(run="a"))
    assert obeyed(run) == []
