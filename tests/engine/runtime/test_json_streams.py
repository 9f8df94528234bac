"""Output of a child or another computer: JSON lines, and names that can be sent."""

import json
import os
import signal
import subprocess
import sys

import msgspec
import psutil
import pytest

from surgeon_engine.runtime.folders import list_files
from surgeon_engine.runtime.greeting import _sendable

pytestmark = pytest.mark.waits

TIMEOUT_S = 20
HEADER = """
import os, sys, time, msgspec
from surgeon_engine.runtime.json_streams import *
class Message(msgspec.Struct):
    text: str
"""


def start(program: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HEADER + program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_prints_go_to_the_error_output():
    process = start(
        "output = JsonOutput()\n"
        "print('print', flush=True)\n"
        "os.write(1, b'write')\n"
        "output.write(Message('text'))\n"
    )
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert json.loads(output) == {"text": "text"}
    assert errors.split() == [b"print", b"write"]


def test_messages_are_handled_in_order():
    process = start(
        "read_messages(Message, JsonOutput().write)\n"  # echoes them
        "time.sleep(60)\n"
    )
    lines = [b'{"text":"one"}\n', b'{"text":"two"}\n']
    process.stdin.write(b"".join(lines))
    process.stdin.flush()
    assert [process.stdout.readline(), process.stdout.readline()] == lines
    process.communicate(timeout=TIMEOUT_S)


@pytest.mark.skipif(os.name != "posix", reason="exits with a signal")
@pytest.mark.parametrize("call", ["exit_with_parent()", "read_messages(Message, 0)"])
def test_end_of_the_input_ends_the_process_and_its_children(call):
    process = start(
        "import subprocess\n"
        "command = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "child = subprocess.Popen(command, stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        f"{call}\n"
        "time.sleep(60)\n"
    )
    child = psutil.Process(int(process.stdout.readline()))
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == -signal.SIGKILL
    _, alive = psutil.wait_procs([child], timeout=TIMEOUT_S)
    assert not alive


def test_process_that_ignores_its_input_exits_by_itself():
    process = start("exit_with_parent()")
    assert process.wait(TIMEOUT_S) == 0
    process.communicate()


def test_file_names_that_are_no_text_are_left_out(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.gguf")).touch()
    (tmp_path / "model.gguf").touch()
    listed = list_files(str(tmp_path))
    assert [entry.name for entry in listed.entries] == ["model.gguf"]
    assert listed.omitted == 1
    assert msgspec.json.encode(listed)


def test_home_folder_in_another_encoding_can_be_sent():
    assert _sendable("/home/\udcff") == "/home/\N{REPLACEMENT CHARACTER}"
