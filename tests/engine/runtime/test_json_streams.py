"""The child's end of JSON lines: nothing disturbs the output, no process is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

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


def test_module_does_not_import_torch():
    program = "sys.exit(bool({'torch', 'transformers'} & {*sys.modules}))"
    process = start(program)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
