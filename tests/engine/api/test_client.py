"""The client of the engine: requests, events, and every way the engine can exit."""

import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from surgeon_engine.api.client import ENGINE_COMMAND, EngineProcess, EngineThreadClient
from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.commands import (
    Cancel,
    InspectModel,
    Pause,
    Resume,
    StartRun,
)
from surgeon_engine.api.messages.events import (
    Cancelled,
    EngineReady,
    EngineStarted,
    Failed,
)
from surgeon_engine.api.messages.run import Paused, Progressed, Resumed
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.base.errors import ModelError
from surgeon_engine.runtime.failures import failure
from surgeon_engine.server import Engine
from tests.helpers.configs import pruning_config
from tests.helpers.remote import envelopes_until, receive_until

pytestmark = pytest.mark.waits


@pytest.fixture(scope="module")
def client():
    """Return a client of an engine in a thread; one in a process needs seconds."""
    client = EngineThreadClient(Engine)
    receive_until(client, EngineReady)
    yield client
    client.kill()
    while client.receive(0.0) is not None:
        pass
    assert client.ended


def test_response_carries_the_name_of_its_request(client):
    client.send(InspectModel(run="inspect-1", model=ModelConfig()))
    (envelope,) = envelopes_until(client, ModelInspected)
    assert envelope.run == "inspect-1"
    assert envelope.event.model.name == "Demo"


def test_failed_request_gives_a_message_and_a_hint(client, tmp_path):
    config = ModelConfig(source=str(tmp_path / "none"))
    client.send(InspectModel(run="inspect-2", model=config))
    (failed,) = receive_until(client, Failed)
    assert "There is no model at" in failed.message
    assert failed.hint
    assert not failed.details


@pytest.mark.slow
def test_run_can_be_paused_resumed_and_cancelled(client, tmp_path):
    config = RunConfig(
        calibration=CalibrationConfig(windows=64, validation_windows=4, batch=1),
        pruning=pruning_config(shots=50),
    )
    client.send(StartRun(run="waits", config=config, folder=str(tmp_path / "run")))
    receive_until(client, Progressed)
    client.send(Pause(run="waits"))
    receive_until(client, Paused)
    assert client.receive(0.3) is None
    client.send(Resume(run="waits"))
    assert isinstance(receive_until(client, Progressed)[0], Resumed)
    client.send(Pause(run="waits"))
    receive_until(client, Paused)
    client.send(Cancel(run="waits"))
    assert envelopes_until(client, Cancelled)[-1].run == "waits"
    assert not (tmp_path / "run" / "export").exists()


@pytest.mark.slow
def test_run_cancelled_while_queued_does_not_start(client, tmp_path):
    client.send(InspectModel(run="inspect-3", model=ModelConfig()))
    client.send(StartRun(run="b", config=RunConfig(), folder=str(tmp_path / "b")))
    client.send(Cancel(run="b"))
    receive_until(client, Cancelled)
    assert not (tmp_path / "b").exists()


@pytest.mark.runtimes
def test_prints_of_libraries_are_no_events():
    code = (
        "import surgeon_engine.server as s; import builtins;"
        "old = s.inspect_model;"
        "s.inspect_model = lambda m: (builtins.print('noise'), old(m))[1];"
        "from surgeon_engine.runtime.greeting import greet;"
        "s.serve_standard_streams(greet())"
    )
    client = EngineProcess((sys.executable, "-c", code))
    client.send(InspectModel(run="x", model=ModelConfig()))
    receive_until(client, ModelInspected)
    client.kill()


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", "killed by the system"),
        (f"os.kill(os.getpid(), {int(signal.SIGSEGV)})", "crashed (signal 11"),
        (
            "sys.stderr.write('last output'); os._exit(3)",
            "exited unexpectedly (exit code 3).",
        ),
        (
            "print('last output', flush=True); sys.stdin.read()",
            "wrote a line that is not a valid message.",
        ),
    ],
)
def test_exit_of_the_engine_is_reported_with_its_last_output(program, sentence):
    client = EngineProcess((sys.executable, "-c", f"import os, sys; {program}"))
    deadline = time.monotonic() + 20
    while not client.ended and time.monotonic() < deadline:
        assert client.receive(0.1) is None
    assert client.ended
    message, details = client.exit_reason()
    assert sentence in message
    assert ("last output" in details) == ("last output" in program)
    client.send(Cancel(run="x"))  # has no effect
    client.kill()


def test_kill_ends_the_engine_and_its_children():
    code = (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "time.sleep(60)"
    )
    client = EngineProcess((sys.executable, "-c", code))
    parent = psutil.Process(client.pid)
    deadline = time.monotonic() + 20
    while not parent.children() and time.monotonic() < deadline:
        time.sleep(0.01)
    (child,) = parent.children()
    client.kill()
    assert not parent.is_running()
    assert not child.is_running()


@pytest.mark.runtimes
def test_engine_exits_with_its_parent():
    process = subprocess.Popen(
        ENGINE_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    for _ in (EngineStarted, EngineReady):
        process.stdout.readline()
    process.stdin.close()
    assert process.wait(timeout=20) == -signal.SIGKILL
    process.stdout.close()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "is not enough"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "is not enough"),
        (
            RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
            "is not enough",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory"),
        (ModelError("No model.", "Choose one."), "No model."),
        (KeyError("x"), "An unexpected error occurred: KeyError"),
    ],
)
def test_failure_has_a_message_and_a_hint(error, sentence):
    failed = failure(error)
    assert sentence in failed.message
    assert failed.hint
