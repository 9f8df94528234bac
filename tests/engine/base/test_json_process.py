"""Child processes: no failure of a child is missed, and no process is left behind."""

import os
import signal
import subprocess
import sys
import time

import msgspec
import psutil
import pytest

from surgeon_engine.api.client import ENGINE_COMMAND
from surgeon_engine.base import json_process
from surgeon_engine.base.calls import ModelProcess
from surgeon_engine.base.decoding import json_decoder
from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.base.json_process import JsonProcess, ProcessExit, module_command
from surgeon_engine.generation import pair
from surgeon_engine.hub import download
from surgeon_engine.measurement import measure

pytestmark = pytest.mark.waits

TIMEOUT_S = 20.0
# Prints the ID of a grandchild, which inherits the child's output.
GRANDCHILD = """
import subprocess, sys, time
program = "import time; time.sleep(60)"
grandchild = subprocess.Popen([sys.executable, "-c", program])
print('{"text": "%d"}' % grandchild.pid, flush=True)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="needs process groups")


class Message(msgspec.Struct, frozen=True):
    text: str


def start(program: str, **environment: str) -> JsonProcess[Message]:
    command = (sys.executable, "-c", program)
    decode = msgspec.json.Decoder(Message).decode
    return JsonProcess(command, decode, os.environ | environment)


def receive_all(process: JsonProcess[Message]) -> list[Message]:
    messages = []
    deadline = time.monotonic() + TIMEOUT_S
    while not process.ended:
        assert time.monotonic() < deadline
        if (message := process.receive(0.05)) is not None:
            messages.append(message)
    return messages


def wait_until(condition, seconds=TIMEOUT_S) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_messages_go_both_ways():
    echo = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    with start(echo) as process:
        for text in ("one", "two"):
            process.send(Message(text))
            assert process.receive(TIMEOUT_S) == Message(text)
        assert process.receive(0.01) is None
        assert process.is_running and not process.ended
    assert not process.is_running


def test_child_gets_its_environment():
    program = "import os; print('{\"text\": \"' + os.environ['NAME'] + '\"}')"
    with start(program, NAME="value") as process:
        assert receive_all(process) == [Message("value")]


def test_messages_before_the_exit_are_received():
    with start('for i in range(3): print(\'{"text": "%d"}\' % i)') as process:
        assert receive_all(process) == [Message("0"), Message("1"), Message("2")]
        assert process.wait_for_exit() == ProcessExit(0, "")
        assert process.receive(TIMEOUT_S) is None  # at once


def test_send_after_exit_has_no_effect():
    with start("") as process:
        receive_all(process)
        process.send(Message("x"))
        process.send(Message("x"))
    process.send(Message("x"))


def test_child_that_reads_nothing_blocks_no_caller_and_is_ended():
    with start("import time; time.sleep(60)") as process:
        process.send(Message("x" * 10_000_000))  # more than a pipe holds
        assert process.is_running
        process.send(Message("x"))
        receive_all(process)
        assert "does not read" in process.wait_for_exit().summary


def test_kill_interrupts_a_half_written_message():
    with start("import time; time.sleep(60)") as process:
        process.send(Message("x" * 10_000_000))
        threads = process._threads
    assert not any(thread.is_alive() for thread in threads)


def test_endless_line_ends_the_child(monkeypatch):
    monkeypatch.setattr(json_process, "MAX_LINE_BYTES", 100_000)
    with start("while True: print('x' * 1000, end='')") as process:
        receive_all(process)
        assert "more than 100,000 bytes" in process.wait_for_exit().reason


@pytest.mark.slow
def test_unread_messages_stop_the_child(monkeypatch):
    monkeypatch.setattr(json_process, "_MAX_UNREAD_BYTES", 1000)
    count = 20_000  # more than the pipe and all buffers hold
    program = f'for i in range({count}): print(\'{{"text": "%d"}}\' % i)'
    with start(program) as process:
        assert not wait_until(lambda: not process.is_running, 0.3)
        assert len(process._inbox._messages) < 100
        assert receive_all(process) == [Message(str(i)) for i in range(count)]


def test_endless_error_output_is_not_kept():
    program = "import sys\nwhile True: sys.stderr.write('x' * 100_000)"
    with start(program) as process:
        assert wait_until(lambda: len(process._stderr_tail) == 8_000)
        assert process.receive(0.05) is None


@pytest.mark.parametrize("line", ["[" * 100_000, '{"text": ' + "[" * 5_000])
def test_deep_line_ends_the_child(line):
    program = f"print({line!r}, flush=True); input()"
    command = (sys.executable, "-c", program)
    decode = json_decoder(Message)
    with JsonProcess(command, decode, os.environ) as process:
        receive_all(process)
        exited = process.wait_for_exit()
    assert "not a valid message" in exited.reason
    assert len(exited.details) <= 2_000


def test_invalid_line_ends_the_child():
    program = (
        "import time; print('{\"text\": \"a\"}'); print('loading ...', flush=True);"
        'print(\'{"text": "b"}\', flush=True); time.sleep(60)'
    )
    with start(program) as process:
        assert receive_all(process) == [Message("a")]
        exited = process.wait_for_exit()
    assert exited.invalid_line == exited.details == "loading ..."
    assert exited.reason == "wrote a line that is not a valid message"
    assert exited.summary.endswith('is not a valid message: "loading ..."')


def test_tail_of_the_error_output_is_kept():
    program = "import sys; sys.stderr.write('x' * 100_000 + 'the end'); sys.exit(3)"
    with start(program) as process:
        receive_all(process)
        exited = process.wait_for_exit()
        assert exited.code == 3
        assert exited.stderr.endswith("xxthe end")
        assert len(exited.stderr) < 10_000
    assert process.wait_for_exit() == exited  # after the kill too


def test_kill_ends_a_grandchild():
    with start(f"{GRANDCHILD}\ntime.sleep(60)") as process:
        message = process.receive(TIMEOUT_S)
        assert message is not None
        grandchild = int(message.text)
        assert not is_dead(grandchild)
    assert is_dead(process.pid)
    assert is_dead(grandchild)


@posix
def test_kill_ends_a_grandchild_in_a_session_of_its_own():
    program = GRANDCHILD.replace("program])", "program], start_new_session=True)")
    with start(f"{program}\ntime.sleep(60)") as process:
        message = process.receive(TIMEOUT_S)
        assert message is not None
    assert is_dead(int(message.text))


@posix
def test_grandchild_that_outlives_the_child_is_ended():
    with start(GRANDCHILD) as process:
        (message,) = receive_all(process)  # although it holds the output open
        assert process.wait_for_exit().code == 0
        assert wait_until(lambda: is_dead(int(message.text)))


@posix
def test_kill_ends_a_grandchild_whose_parent_has_exited():
    program = GRANDCHILD.replace("program])", "program], stdout=subprocess.DEVNULL)")
    with start(program) as process:
        message = process.receive(TIMEOUT_S)
        assert message is not None
        assert process.receive(TIMEOUT_S) is None  # the end of the output
        process.wait_for_exit()
        grandchild = int(message.text)
        assert not is_dead(grandchild)
    assert wait_until(lambda: is_dead(grandchild))


def test_kill_twice_is_harmless(monkeypatch):
    process = start("import sys; sys.exit('reason')")
    receive_all(process)
    process.kill()
    exited = process.wait_for_exit()
    # Another process may have got the ID by now.
    monkeypatch.setattr(json_process, "kill_process_tree", None)
    monkeypatch.setattr(os, "killpg", None, raising=False)
    process.kill()
    assert process.wait_for_exit() == exited
    assert exited.stderr.strip() == "reason"
    assert process.ended


@posix
def test_child_that_closes_its_output_and_runs_on_is_killed(monkeypatch):
    monkeypatch.setattr(json_process, "_EXIT_GRACE_S", 0.1)
    with start("import os, time; os.close(1); time.sleep(60)") as process:
        receive_all(process)
        assert process.is_running
        assert process.wait_for_exit().was_killed


def test_program_that_does_not_exist_raises():
    with pytest.raises(OSError, match="no_such_program"):
        JsonProcess(("/no_such_program",), bytes, os.environ)


@posix
@pytest.mark.parametrize(
    ("exited", "reason", "summary"),
    [
        (
            ProcessExit(-signal.SIGKILL, "a warning"),
            "was killed by the system",
            "its process was killed by the system",
        ),
        (ProcessExit(-signal.SIGSEGV, ""), "crashed (signal 11", "its process crashed"),
        (ProcessExit(1, "Traceback\nOSError: x\n"), "(exit code 1)", "OSError: x"),
        (ProcessExit(0, ""), "exited unexpectedly (exit code 0)", "(exit code 0)"),
    ],
)
def test_exit_is_described(exited, reason, summary):
    assert reason in exited.reason
    assert summary in exited.summary


def test_client_reports_an_invalid_line():
    program = "input(); print('loading ...', flush=True); input()"
    command = (sys.executable, "-c", program)
    with ModelProcess("folder/model", command) as client:
        with pytest.raises(EvaluationError, match=r"model cannot be used: .*loading"):
            client.call("x", (), str, lambda: None)
        assert not client.wait_until_idle(TIMEOUT_S)


@pytest.mark.slow
def test_module_in_the_current_folder_does_not_run(tmp_path):
    (tmp_path / "msgspec.py").write_text("raise SystemExit('planted')")
    for command in (
        module_command("surgeon_engine.hub.messages"),
        (*ENGINE_COMMAND[:2], "-c", "import surgeon_engine.hub.messages"),
        (*download.COMMAND[:2], "-c", "import surgeon_engine.hub.messages"),
        (*pair.COMMAND[:2], "-c", "import surgeon_engine.hub.messages"),
        (*measure.COMMAND[:2], "-c", "import surgeon_engine.hub.messages"),
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
    unsafe = [sys.executable, "-c", "import msgspec"]
    done = subprocess.run(unsafe, cwd=tmp_path, capture_output=True, check=False)
    assert done.stderr == b"planted\n"
