"""Another computer by ssh: names, the meaning of ssh's errors, a server on loopback."""

import os
import shlex
import signal
import sys
from importlib.metadata import version

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.commands import (
    Cancel,
    ListFiles,
    ListModels,
    ListRuns,
    StartRun,
)
from surgeon_engine.api.messages.events import (
    Cancelled,
    ConnectionChanged,
    ConnectionStatus,
    EngineReady,
    EngineStarted,
    Envelope,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.files import (
    FileEntry,
    FileKind,
    FilesListed,
    ModelsListed,
    RunsListed,
)
from surgeon_engine.api.messages.run import (
    Progressed,
    Resumed,
    RunFinished,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.remote import RemoteEngine
from surgeon_engine.base import decoding, json_process
from surgeon_engine.base.json_process import ProcessExit
from surgeon_engine.base.ssh import (
    Computer,
    ConnectionFailed,
    problem_of,
    version_problem,
)
from tests.helpers.configs import pruning_config, surgeon_job
from tests.helpers.fake_remote import LOCAL_SSH, remote_command
from tests.helpers.loopback_ssh import NEEDS_SSH, LoopbackSsh
from tests.helpers.remote import kill_all, receive_until, status_until, wait_until_gone

pytestmark = pytest.mark.waits

RETRIES = (0.05,) * 50
CHANGED = ConnectionChanged(ConnectionStatus.CONNECTED, "elsewhere")
LONG_SECONDS = 280.0  # the whole engine on a slow and busy machine


@pytest.fixture(scope="module")
def ssh_server(tmp_path_factory):
    ssh_server = LoopbackSsh(tmp_path_factory.mktemp("sshd"))
    yield ssh_server
    ssh_server.close()


@pytest.fixture
def connect(ssh_server, tmp_path):
    clients = []

    def make(*options, host="loopback", command="", **extra):
        command = command or remote_command(tmp_path, *options, **extra)
        clients.append(RemoteEngine(Computer(host, command), ssh_server.ssh, RETRIES))
        return clients[-1]

    yield make
    for client in clients:
        client.kill()
    kill_all(tmp_path)


@pytest.mark.parametrize(
    "host",
    ["gpu-box", "me@gpu.example.org", "a_b", "me@10.0.0.2", "::1", "[fe80::1%eth0]"],
)
def test_names_of_computers_are_accepted(host):
    Computer(host).check()


@pytest.mark.parametrize(
    "host",
    [
        *("-oProxyCommand=x", "a b", "a;b", "me@-x", "a\nb", "a\x1bb", "@a"),
        *("[-oX]", "me@[-oX]", "[[h]]", "[h]", "]h", "[]-oX", "[::1", "::1]", "::1%"),
        *("[::]x", "h:22", "%h", "h%", "1:2", "h\u0430", "\u0665", "..", "x" * 300),
        "me@[::1%-oX]",
    ],
)
def test_other_names_are_rejected_before_ssh_starts(host):
    with pytest.raises(ConnectionFailed, match="is no name of a computer"):
        Computer(host).check()
    engine = RemoteEngine(Computer(host), ("/no/such/ssh",))
    assert "no name" in status_until(engine, ConnectionStatus.FAILED).message


@pytest.mark.parametrize("host", ["", " "])
def test_missing_name_of_a_computer_is_not_quoted(host):
    with pytest.raises(ConnectionFailed) as error:
        Computer(host).check()
    assert "“" not in error.value.message


@pytest.mark.parametrize("command", ["", "  ", "surgeon\nreboot", "x" * 2000])
def test_commands_of_several_lines_are_rejected(command):
    with pytest.raises(ConnectionFailed, match="is no command"):
        Computer("gpu-box", command).check()


@pytest.mark.parametrize(
    ("code", "output", "sentence"),
    [
        (255, "ssh: Could not resolve hostname x: Name or", "no computer called"),
        (255, "ssh: connect to host x port 22: Connection timed out", "not respond"),
        (255, "ssh: connect to host x port 22: No route to host", "There is no way"),
        (255, "kex_exchange_identification: odd", "was lost: kex_exchange"),
        (255, "Timeout, server x not responding.", "does not respond any more"),
        (1, "No module named 'surgeon_engine'", "No module named"),
        (126, "Permission denied", "was not found"),
        (0, "", "has ended"),
    ],
)
def test_end_of_ssh_is_a_sentence(code, output, sentence):
    problem = problem_of(ProcessExit(code, output), Computer("x"))
    assert sentence in problem.message
    assert "ssh x" in problem.hint or "Install" in problem.hint


def test_versions_must_agree_up_to_the_second_number():
    ours = version("surgeon")
    assert version_problem(f"{ours}.post1", "x") is None
    problem = version_problem("99.0.0", "x")
    assert "99.0.0" in problem.message
    assert ours in problem.message


def test_other_program_is_not_taken_for_an_engine():
    engine = RemoteEngine(Computer("here", "echo '{}' #"), LOCAL_SSH)
    assert "is not Surgeon" in status_until(engine, ConnectionStatus.FAILED).message
    engine.kill()


def line_of(event) -> bytes:
    return msgspec.json.encode(Envelope("", 1.0, event)) + b"\n"


MANY_FILES = FilesListed("/", "", (FileEntry("a", FileKind.FILE),) * 2_001)
STARTED = line_of(EngineStarted(version("surgeon"), "there", "/runs"))


def test_line_that_a_lost_connection_cuts_off_is_no_reason_to_give_up():
    line = shlex.quote(STARTED.decode().strip())
    command = f"printf '%s\\n%s' {line} '{{\"run\":\"a' #"
    engine = RemoteEngine(Computer("here", command), LOCAL_SSH, (60.0,))
    status_until(engine, ConnectionStatus.LOST)
    engine.kill()


@pytest.mark.parametrize(
    ("first_line", "exit_code", "waits", "attempts"),
    [
        (b"", 255, (0.0, 0.0), 1),  # it has never been connected
        (STARTED, 255, (), 1),
        (STARTED, 255, (0.0, 0.0), 3),  # as often as there are waits
        (STARTED, 127, (0.0, 0.0), 1),  # another attempt would find no command, too
    ],
)
def test_lost_connection_is_tried_again_until_that_is_of_no_use(
    first_line, exit_code, waits, attempts
):
    line = shlex.quote(first_line.decode())
    ssh = ("sh", "-c", f"printf %s {line}; exit {exit_code}")
    engine = RemoteEngine(Computer("there"), ssh, waits)
    statuses = []
    while ConnectionStatus.FAILED not in statuses:
        statuses.append(receive_until(engine, ConnectionChanged)[-1].status)
    assert statuses.count(ConnectionStatus.CONNECTING) == attempts
    assert statuses.count(ConnectionStatus.LOST) == attempts - 1
    engine.kill()


def test_engine_that_crashes_fails_its_requests_and_is_not_sent_them_again():
    crash = "import sys, os; print(sys.argv[1], flush=True); input(); os._exit(3)"
    ssh = (sys.executable, "-c", crash, STARTED.decode().strip())
    engine = RemoteEngine(Computer("there"), ssh, (60.0,))
    engine.send(ListModels(run="models"))
    assert "exit code 3" in receive_until(engine, Failed)[-1].message
    status_until(engine, ConnectionStatus.LOST)
    assert not engine._open
    engine.kill()


def stranger(first: bytes, forever: bytes = b"") -> RemoteEngine:
    """Return a client of an ssh that writes lines and reads nothing."""
    program = (
        "import sys, time; out = sys.stdout.buffer\n"
        f"out.write({first!r}); out.flush()\n"
        f"while {forever!r}: out.write({forever!r})\n"
        "time.sleep(60)"
    )
    ssh = (sys.executable, "-c", program)
    return RemoteEngine(Computer("there"), ssh, (60.0,))


@pytest.mark.parametrize(
    ("lines", "forever", "sentence"),
    [
        (STARTED, b"x" * 1000, "more than 1,000,000 bytes"),
        (b"{" + b'"a":{' * 20_000 + b"\n", b"", "is not Surgeon"),
        (STARTED + b'{"a":' + b"[" * 20_000 + b"\n", b"", "is not Surgeon"),
        (line_of(Resumed()), b"", "is not Surgeon"),
        (STARTED + STARTED, b"", "is not Surgeon"),
        (STARTED + line_of(CHANGED), b"", "is not Surgeon"),
        (STARTED + line_of(Progressed(Stage.LOAD, 1, 2**60, 1)), b"", "is not Surgeon"),
        (STARTED.replace(b"1.0", b"1e300"), b"", "is not Surgeon"),
        (STARTED + b'{"a":[' + b"1," * 1_001 + b"1]}\n", b"", "is not Surgeon"),
        (b"", b"welcome\n", "is not Surgeon"),
        (STARTED + line_of(MANY_FILES), b"", "is not Surgeon"),
        (line_of(EngineStarted("99.1.0", "there", "/runs")), b"", "99.1.0"),
    ],
    ids=range(12),
)
def test_stranger_at_the_other_end_is_left_with_a_sentence(
    monkeypatch, lines, forever, sentence
):
    monkeypatch.setattr(json_process, "MAX_LINE_BYTES", 1_000_000)
    monkeypatch.setattr(decoding, "_MAX_VALUES", 1_000)
    engine = stranger(lines, forever)
    assert sentence in status_until(engine, ConnectionStatus.FAILED).message
    engine.kill()


def test_program_that_reads_nothing_is_left_with_a_sentence(monkeypatch):
    monkeypatch.setattr(json_process, "_MAX_UNSENT_BYTES", 1_000)
    engine = stranger(STARTED)
    status_until(engine, ConnectionStatus.CONNECTED)
    for number in range(3_000):
        engine.send(ListFiles(run=f"files-{number}", folder="x" * 100))
    lost = status_until(engine, ConnectionStatus.FAILED)
    assert "does not read" in lost.message
    engine.kill()


def test_texts_of_another_computer_drive_no_terminal():
    text = "\x1b]0;evil\x07\u202eno\n\tA\xa0B"
    logged = Logged(Level.INFO, text + "x" * 100_001)
    engine = stranger(STARTED + line_of(logged))
    shown = receive_until(engine, Logged)[-1].message
    assert shown.startswith("\\x1b]0;evil\\x07\\u202eno\n\tA\xa0B")
    assert len(shown) < 100_100
    engine.kill()


@pytest.mark.parametrize(
    ("host", "for_ssh", "for_sftp"),
    [
        ("me@gpu-box", "me@gpu-box", "me@gpu-box"),
        ("me@fe80::1", "me@fe80::1", "me@[fe80::1]"),
        ("[::1]", "::1", "[::1]"),
    ],
)
def test_ipv6_addresses_are_written_as_each_program_takes_them(host, for_ssh, for_sftp):
    computer = Computer(host)
    assert (computer.ssh_name, computer.sftp_name) == (for_ssh, for_sftp)
    for code in (0, 1, 127, 255):
        hint = problem_of(ProcessExit(code, ""), computer).hint
        assert f"ssh {for_ssh}" in hint


@NEEDS_SSH
@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "sentence", "hint"),
    [
        ("changed", "The key of changed has changed", "ssh-keygen -R changed"),
        ("unknown", "unknown is not known yet", "ssh unknown"),
        ("denied", "does not accept your keys", "ssh-copy-id denied"),
        ("refused", "refuses connections", "ssh refused"),
        ("nowhere.invalid", "no computer called nowhere.invalid", "Check the name"),
    ],
)
def test_refused_connection_is_a_sentence(connect, host, sentence, hint):
    failed = status_until(connect(host=host), ConnectionStatus.FAILED)
    assert sentence in failed.message
    assert hint in failed.hint


@NEEDS_SSH
@pytest.mark.slow
def test_missing_program_is_a_sentence(connect):
    failed = status_until(connect(command="surgeon-9"), ConnectionStatus.FAILED)
    assert "There is no Surgeon on loopback" in failed.message


@NEEDS_SSH
@pytest.mark.slow
def test_run_survives_a_cut_connection(connect, ssh_server, tmp_path):
    client = connect("--pause", "0.01")
    receive_until(client, EngineReady)
    config = RunConfig(pruning=pruning_config(sparsity=0.3, shots=4))
    folder = tmp_path / "runs" / "first"
    start = StartRun(run="run", config=config, folder=str(folder), detached=True)
    client.send(start)
    received = receive_until(client, ShotFinished)
    ssh_server.cut()
    lost = status_until(client, ConnectionStatus.LOST)
    assert lost.message
    ssh_server.start()
    received += receive_until(client, RunFinished)
    kinds = [type(event) for event in received]
    assert kinds.count(ShotFinished) == 4
    client.send(ListRuns(run="list", folder=str(tmp_path / "runs")))
    (entry,) = receive_until(client, RunsListed)[-1].runs
    assert entry.folder == str(folder)
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    client.send(ListFiles(run="files", folder=str(tmp_path)))
    listed = receive_until(client, FilesListed)[-1]
    kinds = {each.name: each.kind for each in listed.entries}
    assert kinds["runs"] is FileKind.FOLDER
    assert kinds["tiny.gguf"] is FileKind.MODEL
    client.kill()
    wait_until_gone(tmp_path)


@NEEDS_SSH
@pytest.mark.runtimes
def test_real_engine_prunes_the_demo_by_ssh(connect, tmp_path):
    client = connect(module="surgeon_engine")
    calibration = CalibrationConfig(
        windows=4, validation_windows=2, window_length=64, batch=2
    )
    config = surgeon_job(
        calibration=calibration,
        evaluation=EvaluationConfig(windows=0),
        pruning=pruning_config(shots=40, method=Method.MAGNITUDE),
    )
    folder = tmp_path / "run"
    start = StartRun(run="run", config=config, folder=str(folder), detached=True)
    client.send(start)
    receive_until(client, StageStarted, LONG_SECONDS)
    os.kill(client._process.pid, signal.SIGKILL)
    status_until(client, ConnectionStatus.LOST)
    client.send(ListModels(run="models"))  # beside the run
    receive_until(client, ModelsListed, LONG_SECONDS)
    receive_until(client, ShotFinished, LONG_SECONDS)
    client.send(Cancel(run="run"))  # before the export, whose check takes seconds
    receive_until(client, Cancelled, LONG_SECONDS)
    assert (folder / "events.jsonl").is_file()
    client.kill()
    wait_until_gone(tmp_path)
