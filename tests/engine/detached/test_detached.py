"""The keeper, its relay and the remote client, with a fake engine and without ssh."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from dataclasses import replace
from random import Random

import msgspec
import pytest

from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.commands import (
    Cancel,
    DownloadModel,
    InspectModel,
    Pause,
    Resume,
    ResumeRun,
    SearchHub,
    StartRun,
)
from surgeon_engine.api.messages.connection import Attach, Leave
from surgeon_engine.api.messages.events import (
    Attached,
    Cancelled,
    ConnectionStatus,
    EngineEnded,
    EngineReady,
    Envelope,
    Level,
    Logged,
    Skipped,
)
from surgeon_engine.api.messages.run import (
    MemorySampled,
    Paused,
    Progressed,
    RunFinished,
    RunResumed,
    RunStarted,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.api.remote import RemoteEngine
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base import ssh
from surgeon_engine.base.decoding import json_decoder
from surgeon_engine.base.ssh import Computer
from surgeon_engine.detached import keeper as keeper_module
from surgeon_engine.detached.keeper import Keeper, Times, _Connection, _earlier, _Line
from surgeon_engine.detached.lines import Lines
from surgeon_engine.detached.place import Place
from surgeon_engine.detached.shortening import count_of, shortened
from surgeon_engine.runtime.folders import list_files
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import shot_finished
from tests.helpers.fake_remote import LOCAL_SSH, remote_command
from tests.helpers.fake_runs import write_saved_state
from tests.helpers.remote import (
    SECONDS,
    kill_all,
    processes,
    receive_until,
    status_until,
    wait_until_gone,
)

QUICK = RunConfig(pruning=pruning_config(sparsity=0.3, shots=3))
LONG = replace(QUICK, pruning=replace(QUICK.pruning, shots=50))
RETRIES = (0.05,) * 20
START = StartRun(run="run-1", config=QUICK, folder="folder")
DOWNLOAD = DownloadModel(run="download-1", source="hf://someone/tiny")
SEARCH = SearchHub(run="search-1", query="tiny")


@pytest.fixture
def connect(tmp_path):
    clients = []

    def make(*options, ssh=LOCAL_SSH, retries=RETRIES):
        computer = Computer("here", remote_command(tmp_path, *options))
        clients.append(RemoteEngine(computer, ssh, retries))
        return clients[-1]

    yield make
    for client in clients:
        client.kill()
    kill_all(tmp_path)


def cut(client):
    """End the connection of a client as a broken network does."""
    client._process._kill_group()


@pytest.mark.slow
def test_run_goes_on_without_its_client_and_nothing_is_lost(connect, tmp_path):
    client = connect("--pause", "0.01", "--max-bytes", "2000", "--ping", "0.05")
    ready = receive_until(client, EngineReady)
    assert [type(event) for event in ready][-2:] == [Attached, EngineReady]
    client.send(START)
    received = receive_until(client, ShotFinished)
    cut(client)
    lost = status_until(client, ConnectionStatus.LOST)
    assert (lost.attempt, lost.attempts) == (1, len(RETRIES))
    inspect = InspectModel(run="inspect-1", model=ModelConfig())
    client.send(inspect)  # without a connection
    received += receive_until(client, RunFinished)
    kinds = [type(event) for event in received]
    assert kinds.count(RunStarted) == kinds.count(RunFinished) == 1
    assert kinds.count(ShotFinished) == QUICK.pruning.shots
    after = [type(event) for event in receive_until(client, ModelInspected)]
    assert RunStarted not in after  # no command is executed twice
    (file,) = tmp_path.rglob("lines.jsonl")
    assert file.read_bytes().count(b"\n") < client._received  # it was shortened
    client.close()
    wait_until_gone(tmp_path)


@pytest.mark.slow
def test_another_client_gets_the_run_from_its_start(connect, tmp_path):
    first = connect("--pause", "0.01")
    first.send(StartRun(run="run-1", config=LONG, folder="folder"))
    receive_until(first, ShotFinished)
    first.send(Pause(run="run-1"))
    receive_until(first, Paused)
    first.close()
    second = connect()
    received = receive_until(second, Paused)
    attached = next(each for each in received if isinstance(each, Attached))
    assert attached.run.config == LONG
    kinds = [type(event) for event in received]
    assert kinds.count(RunStarted) == kinds.count(EngineReady) == 1
    assert kinds.count(ShotFinished) >= 1
    assert kinds.index(StageStarted) < kinds.index(RunStarted)
    second.send(Resume(run="run-1"))
    second.send(Cancel(run="run-1"))
    receive_until(second, Cancelled)
    second.close()
    wait_until_gone(tmp_path)


@pytest.mark.thorough
def test_run_that_ended_meanwhile_is_reported_once(connect, tmp_path):
    first = connect("--idle", "60")
    first.send(START)
    receive_until(first, StageStarted)
    cut(first)
    time.sleep(0.5)  # the run ends
    second = connect()
    receive_until(second, RunFinished)
    cut(second)  # it is not known whether the end was received
    third = connect()
    receive_until(third, RunFinished)
    third.send(InspectModel(run="x", model=ModelConfig()))
    receive_until(third, ModelInspected)
    third.close()
    wait_until_gone(tmp_path)


@pytest.mark.thorough
def test_resumed_run_has_its_earlier_events(connect, tmp_path):
    run = RunFolder(tmp_path / "first")
    with run.created(QUICK):
        pass
    run.append(Envelope("old", 1.0, shot_finished(1, 3, 0.3)))
    write_saved_state(run.path)
    first = connect("--pause", "0.02")
    first.send(ResumeRun(run="run-2", folder=str(run.path)))
    receive_until(first, RunResumed)
    first.close()
    second = connect()
    received = receive_until(second, RunFinished)
    attached = next(each for each in received if isinstance(each, Attached))
    assert attached.run == StartRun(run="run-2", config=QUICK, folder=str(run.path))
    assert [type(each.event) for each in attached.earlier] == [ShotFinished]
    assert [type(each) for each in received].count(RunResumed) == 1


@pytest.mark.thorough
def test_second_window_is_refused_while_the_first_is_there(connect):
    first = connect()
    receive_until(first, EngineReady)
    second = connect()
    while (envelope := second.receive(0.05)) is None or (
        envelope.event.status is not ConnectionStatus.FAILED
    ):
        first.receive(0.01)  # responds to the keeper
    assert "Another window has used the engine" in envelope.event.message
    first.close()


@pytest.mark.thorough
def test_client_that_does_not_respond_loses_its_place(connect):
    first = connect("--takeover", "0.1", "--idle", "60")
    receive_until(first, EngineReady)
    second = connect()
    receive_until(second, EngineReady)


@pytest.mark.thorough
def test_crash_of_the_engine_is_reported_with_its_output(connect, tmp_path):
    client = connect("--mishap", "crash", "--at", "curvature")
    client.send(START)
    deadline = time.monotonic() + SECONDS
    while not client.ended:
        client.receive(0.05)
        assert time.monotonic() < deadline
    message, details = client.exit_reason()
    assert "killed by the system" in message
    assert "made-up kernel" in details
    client.kill()
    wait_until_gone(tmp_path)


@pytest.mark.slow
def test_engine_that_ignores_a_cancel_is_ended_there(connect, tmp_path):
    client = connect("--mishap", "hang", "--at", "load", "--cancel", "0.2")
    client.send(START)
    client.send(InspectModel(run="inspect-1", model=ModelConfig()))
    client.send(Cancel(run="inspect-1"))  # it waits for the run
    receive_until(client, StageStarted)
    for _ in range(10):
        client.receive(0.05)
    assert not client.ended
    client.send(Cancel(run="run-1"))
    deadline = time.monotonic() + SECONDS
    while not client.ended:
        client.receive(0.05)
        assert time.monotonic() < deadline
    assert "did not respond to Cancel" in client.exit_reason()[0]
    client.kill()
    wait_until_gone(tmp_path)


@pytest.fixture
def sockets():
    pair = socket.socketpair()
    yield pair
    for each in pair:
        each.close()


@pytest.fixture
def keeper(tmp_path, monkeypatch, sockets):
    """Return a keeper with a client, whose engine obeys nothing."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    keeper = Keeper(Place(), ("sleep", "60"), Times(cancel=0.0))
    keeper._connection = _Connection(sockets[0])
    yield keeper
    keeper._engine.kill()
    keeper._lines.close()


def receive_commands(keeper, *commands):
    for each in commands:
        keeper._on_message(keeper._connection, each)
    keeper._tick()


def events_of(keeper):
    """Return the events that a client gets."""
    with contextlib.closing(keeper._lines.reader(0)) as reader:
        lines = list(iter(lambda: reader.next(0.0), None))
    return [json_decoder(Envelope).decode(line) for line in lines]


@pytest.mark.parametrize("command", [DOWNLOAD, SEARCH])
def test_request_that_ignores_a_cancel_ends_with_an_idle_engine(keeper, command):
    receive_commands(keeper, command, Cancel(run=command.run))
    keeper._follow_engine()
    (ended,) = events_of(keeper)
    assert "did not respond to Cancel" in ended.event.message
    # A window that comes later hears of it, too, and starts another engine.
    connection, keeper._connection = keeper._connection, None
    assert keeper._attach(connection, Attach("another")) == 0


@pytest.mark.parametrize("other", [START, SEARCH])
def test_request_that_ignores_a_cancel_is_given_up_beside_other_work(keeper, other):
    receive_commands(keeper, other, DOWNLOAD, Cancel(run=DOWNLOAD.run))
    warning, cancelled = events_of(keeper)
    assert warning.event.message.startswith("The download did not respond to Cancel")
    assert (cancelled.run, cancelled.event) == (DOWNLOAD.run, Cancelled())
    receive_commands(keeper)
    assert len(events_of(keeper)) == 2
    assert not keeper._ignores_cancel
    receive_commands(keeper, Cancel(run=other.run))
    keeper._follow_engine()
    assert isinstance(events_of(keeper)[-1].event, EngineEnded)


def test_cancelled_run_has_its_time_beside_a_request_that_ignores_a_cancel(keeper):
    keeper._times = Times(cancel=5.0)
    receive_commands(keeper, START, DOWNLOAD, Cancel(run=DOWNLOAD.run))
    begun = time.monotonic()
    receive_commands(keeper, Cancel(run=START.run))
    keeper._give_up_at[DOWNLOAD.run] = begun - 1.0
    keeper._end_overdue(begun)
    assert not keeper._ignores_cancel
    assert not events_of(keeper)
    keeper._end_overdue(begun + 6.0)
    keeper._follow_engine()
    assert isinstance(events_of(keeper)[-1].event, EngineEnded)


@pytest.mark.thorough
def test_keeper_without_work_ends_after_a_while(connect, tmp_path):
    client = connect("--idle", "0.3")
    receive_until(client, EngineReady)
    cut(client)
    wait_until_gone(tmp_path)


@pytest.mark.thorough
def test_killed_engine_is_not_taken_for_the_lost_one(connect, tmp_path):
    client = connect("--pause", "0.02")
    client.send(START)
    receive_until(client, StageStarted)
    for process in processes(tmp_path):
        process.kill()
    deadline = time.monotonic() + SECONDS
    while not client.ended:
        client.receive(0.05)
        assert time.monotonic() < deadline
    assert "has ended meanwhile" in client.exit_reason()[0]


@pytest.mark.slow
def test_engine_of_another_version_is_not_used(connect, tmp_path, monkeypatch):
    monkeypatch.setattr(ssh, "version", lambda _: "99.1.0")
    failed = status_until(connect(), ConnectionStatus.FAILED)
    assert "99.1.0" in failed.message
    assert "Install the same version" in failed.hint
    wait_until_gone(tmp_path)


@pytest.mark.thorough
def test_silent_client_is_left_alone_and_its_run_goes_on(connect, tmp_path):
    first = connect("--ping", "0.1", "--pong", "0.5", "--pause", "0.02")
    first.send(START)
    receive_until(first, StageStarted)
    deadline = time.monotonic() + SECONDS
    while first._process.is_running:  # it receives nothing: no pong
        assert time.monotonic() < deadline
        time.sleep(0.05)
    receive_until(first, RunFinished)


@pytest.mark.thorough
def test_client_whose_place_was_taken_ends(connect, tmp_path):
    first = connect("--takeover", "0.1", "--pause", "0.01")
    first.send(StartRun(run="run-1", config=LONG, folder="folder"))
    receive_until(first, StageStarted)
    second = connect()
    receive_until(second, RunStarted)
    second.close()
    deadline = time.monotonic() + SECONDS
    while not first.ended:
        first.receive(0.05)
        assert time.monotonic() < deadline
    assert "Another window has used" in first.exit_reason()[0]
    first.kill()  # does not end the engine
    third = connect()
    receive_until(third, ShotFinished)


def test_command_of_a_connection_that_was_replaced_waits_for_the_next(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    keeper = Keeper(Place(), ("cat",))
    here, there = socket.socketpair()
    connection = _Connection(there)
    keeper._on_message(connection, START)
    keeper._on_message(connection, Leave(0))
    assert keeper._accepted == 0
    assert not keeper._stopping.is_set()
    keeper._engine.kill()
    here.close()


def test_client_that_reads_nothing_blocks_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    keeper = Keeper(Place(), ("cat",), Times(takeover=0.1))
    ready = EngineReady({"long": "x" * 2_000_000}, "", 0)
    line = msgspec.json.encode(Envelope("", 0.0, ready)) + b"\n"
    keeper._on_line(_Line(line, Envelope("", 0.0, ready)))  # is part of `Attached`
    pairs = [socket.socketpair() for _ in range(2)]
    threads = []
    for number, (here, there) in enumerate(pairs):
        here.settimeout(10.0)
        here.sendall(msgspec.json.encode(Attach(f"client-{number}")) + b"\n")
        task = (_Connection(there),)
        threads.append(threading.Thread(target=keeper._talk, args=task, daemon=True))
        threads[-1].start()
        assert here.recv(1) == b"{"  # the rest of the line is not read
    keeper.stop()
    keeper._engine.kill()
    for here, _ in pairs:
        here.close()
    for thread in threads:
        thread.join()


def talk(keeper, sent):
    """Let a client send bytes to a keeper and end; return what it receives."""
    here, there = socket.socketpair()
    here.sendall(sent)
    here.shutdown(socket.SHUT_WR)
    thread = threading.Thread(target=keeper._talk, args=(_Connection(there),))
    thread.start()
    with here.makefile("rb") as received:
        lines = received.readlines()
    here.close()
    thread.join(SECONDS)
    assert not thread.is_alive()
    return lines


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Return a keeper without a client."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    keeper = Keeper(Place(), ("cat",), Times(pong=0.1))
    yield keeper
    keeper.stop()
    keeper._engine.kill()
    keeper._lines.close()


@pytest.mark.parametrize("kind", ["nul", "long", "pipes", "devices", "folders", "loop"])
def test_bad_run_folder_keeps_no_client_away(alone, sockets, tmp_path, kind):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.toml", "events.jsonl"):
        match kind:
            case "pipes":
                os.mkfifo(folder / name)
            case "devices":
                (folder / name).symlink_to("/dev/zero")
            case "folders":
                (folder / name).mkdir()
            case "loop":
                (folder / name).symlink_to(folder / name)
    paths = {"nul": "/run\0", "long": "/x" * 10_000}
    run = ResumeRun(run="run-1", folder=paths.get(kind, str(folder)))
    alone._connection = first = _Connection(sockets[0])
    alone._on_message(first, run)
    alone._detach(first)
    alone._earlier_bytes = 1_000
    (line,) = talk(alone, msgspec.json.encode(Attach("client")) + b"\n")
    attached = json_decoder(Envelope).decode(line).event
    assert (attached.run, attached.earlier) == (None, ())


@pytest.mark.parametrize(
    "sent", [b"", b"x" * 8_000, b"[" * 6_000 + b"\n", b"\xff\n", b'"\\ud800"\n']
)
def test_bad_line_of_a_client_ends_its_connection(alone, monkeypatch, sent):
    monkeypatch.setattr(keeper_module, "MAX_LINE_BYTES", 7_000)
    assert talk(alone, sent) == []
    assert alone._connection is None


def test_client_that_says_nothing_is_not_kept(alone, sockets):
    alone._talk(_Connection(sockets[0]))
    assert sockets[1].recv(1) == b""


def test_many_connections_do_not_end_the_keeper(alone, sockets, monkeypatch):
    monkeypatch.setattr(keeper_module, "_MAX_THREADS", 0)
    alone._welcome(_Connection(sockets[0]))
    assert sockets[1].recv(1) == b""


def test_home_folder_in_another_encoding_can_be_sent(alone, monkeypatch):
    monkeypatch.setenv("HOME", "/home/\udcff")
    (line,) = talk(alone, msgspec.json.encode(Attach("client")) + b"\n")
    assert (
        json_decoder(Envelope).decode(line).event.home
        == "/home/\N{REPLACEMENT CHARACTER}"
    )


def test_long_log_of_a_resumed_run_fits_into_a_line(alone, tmp_path, monkeypatch):
    monkeypatch.setattr(keeper_module, "MAX_LINE_BYTES", 10_000)
    run = RunFolder(tmp_path / "run")
    with run.created(QUICK):
        for number in range(100):
            run.append(Envelope("old", number, Logged(Level.INFO, "x" * 100)))
    size = run.events_path.stat().st_size
    found = _earlier(ResumeRun(run="run-1", folder=str(run.path)), size)
    assert 20 < len(found) < 50
    assert found[0].at == 0.0


def progress(done, stage=Stage.UPDATE, run="run"):
    return Envelope(run, 0.0, Progressed(stage, 1, done, 9))


def sample(ram, gpu, run="run"):
    return Envelope(run, 0.0, MemorySampled(ram, gpu, 9))


def line_of(envelope):
    return msgspec.json.encode(envelope) + b"\n"


def test_shortened_lines_keep_the_end_and_the_maximum_memory_of_each_stage():
    begun = Envelope("run", 0.0, StageStarted(Stage.UPDATE, 1))
    logged = Envelope("run", 0.0, Logged(Level.INFO, "hello"))
    envelopes = [
        *(begun, progress(1), sample(5, 1), progress(2), logged, sample(3, 2)),
        *(begun, sample(1, 1), progress(1), progress(2), progress(2, run="other")),
    ]
    found = shortened([line_of(each) for each in envelopes])
    assert sum(map(count_of, found)) == len(envelopes)
    left = [json_decoder(Envelope).decode(line) for line in found]
    expected = [
        *(begun, Skipped(2), progress(2), logged, sample(5, 2)),
        *(begun, sample(1, 1), Skipped(1), progress(2), progress(2, run="other")),
    ]
    assert [x.event if isinstance(x.event, Skipped) else x for x in left] == expected
    again = shortened(found)
    assert again == found


@pytest.mark.parametrize("seed", range(5))
def test_lines_are_received_once_while_their_file_is_shortened(tmp_path, seed):
    random = Random(seed)
    lines = Lines(tmp_path / "lines", 1_000)
    sent, received = [], []
    number = known = 0
    reader = lines.reader(0)
    for shot in range(40):
        events = [StageStarted(Stage.UPDATE, shot)]
        events += [progress(done).event for done in range(random.randrange(20))]
        for event in events:
            lines.append(line_of(Envelope("run", 0.0, event))[:-1])
        sent.append(shot)
        for _ in range(random.randrange(30)):
            if (line := reader.next(0.0)) is None:
                break
            number += count_of(line)
            event = json_decoder(Envelope).decode(line).event
            received += [event.shot] if isinstance(event, StageStarted) else []
        if random.random() < 0.3:
            known = number
        if random.random() < 0.3:
            lines.shorten(known)
        if random.random() < 0.3:  # the client connects again
            reader.close()
            reader = lines.reader(number)
    while (line := reader.next(0.0)) is not None:
        number += count_of(line)
        event = json_decoder(Envelope).decode(line).event
        received += [event.shot] if isinstance(event, StageStarted) else []
    assert received == sent
    assert number == lines.count
    lines.shorten(number)
    assert (tmp_path / "lines").stat().st_size == 0
    reader.close()
    lines.close()


def test_file_names_that_are_no_text_are_left_out(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.gguf")).touch()
    (tmp_path / "model.gguf").touch()
    listed = list_files(str(tmp_path))
    assert [entry.name for entry in listed.entries] == ["model.gguf"]
    assert listed.omitted == 1
    assert msgspec.json.encode(listed)


def test_long_paths_have_sockets_of_their_own(tmp_path, monkeypatch):
    places = []
    for name in ("a" * 120, "b" * 120):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / name))
        places.append(Place())
    first, second = places
    assert first.socket != second.socket
    for place in places:
        assert len(str(place.socket)) < 100
        place.make_room_for_socket()
        assert place.socket.parent.stat().st_mode & 0o077 == 0
        place.remove_socket()
        assert not place.socket.parent.exists()


def test_full_disk_loses_no_line(tmp_path, monkeypatch):
    lines = Lines(tmp_path / "lines")
    lines.append(b"first")
    write = os.write
    is_full = True

    def limited(file, data):
        if not is_full:
            return write(file, data)
        if len(data) > 2:
            return write(file, data[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", limited)
    assert [lines.append(b"second"), lines.append(b"third")] == [1, 2]
    reader = lines.reader(0)
    assert (reader.next(0.0), reader.next(0.0)) == (b"first\n", None)
    is_full = False
    lines.flush()
    assert (reader.next(0.0), reader.next(0.0)) == (b"second\n", b"third\n")
    reader.close()
    lines.close()


def test_folder_that_others_can_enter_is_refused(connect, tmp_path):
    folder = tmp_path / "surgeon"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / f"engine-{os.uname().nodename}").mkdir(mode=0o755)
    (folder / f"engine-{os.uname().nodename}").chmod(0o755)
    failed = status_until(connect(retries=()), ConnectionStatus.FAILED)
    assert "is not private" in failed.message
