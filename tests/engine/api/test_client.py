"""Every way in which the engine's process can end is seen from outside."""

from __future__ import annotations

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
from surgeon_engine.api.errors import ModelError
from surgeon_engine.api.messages.commands import (
    Cancel,
    InspectModel,
    Pause,
    Resume,
    StartRun,
)
from surgeon_engine.api.messages.events import Cancelled, EngineReady, Failed
from surgeon_engine.api.messages.run import Paused, Progressed, Resumed
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.server import failure
from tests.helpers.configs import pruning_config


def events(link, until, seconds=60.0):
    """What arrives, up to and with the first event of the kind `until`."""
    found = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not link.ended:
        envelope = link.receive(0.1)
        if envelope is not None:
            found.append(envelope)
            if isinstance(envelope.event, until):
                return found
    raise AssertionError(f"{until.__name__} did not come; came: {found}")


@pytest.fixture(scope="module")
def link():
    link = EngineProcess()
    events(link, EngineReady)
    yield link
    link.kill()


def test_requests_are_answered_under_their_own_name(link):
    link.send(InspectModel(run="inspect-1", model=ModelConfig()))
    (answer,) = events(link, ModelInspected)
    assert answer.run == "inspect-1"
    assert answer.event.model.name == "Demo"


def test_an_error_comes_as_a_sentence_with_a_hint(link, tmp_path):
    config = ModelConfig(source=str(tmp_path / "none"))
    link.send(InspectModel(run="inspect-2", model=config))
    (answer,) = events(link, Failed)
    assert "There is no model at" in answer.event.message
    assert answer.event.hint
    assert not answer.event.details


def test_cancel_is_heard_in_the_middle_of_a_run(link, tmp_path):
    config = RunConfig(
        calibration=CalibrationConfig(windows=64, validation_windows=4, batch=1),
        pruning=pruning_config(shots=50),
    )
    link.send(StartRun(run="run", config=config, folder=str(tmp_path / "run")))
    events(link, Progressed)
    link.send(Cancel(run="run"))
    assert events(link, Cancelled)[-1].run == "run"
    assert not (tmp_path / "run" / "export").exists()


def test_a_run_waits_in_the_middle_and_goes_on(link, tmp_path):
    config = RunConfig(
        calibration=CalibrationConfig(windows=64, validation_windows=4, batch=1),
        pruning=pruning_config(shots=50),
    )
    link.send(StartRun(run="waits", config=config, folder=str(tmp_path / "run")))
    events(link, Progressed)
    link.send(Pause(run="waits"))
    events(link, Paused)
    assert link.receive(0.3) is None  # it does nothing
    link.send(Resume(run="waits"))
    assert isinstance(events(link, Progressed)[0].event, Resumed)
    link.send(Pause(run="waits"))
    events(link, Paused)
    link.send(Cancel(run="waits"))
    assert events(link, Cancelled)[-1].run == "waits"


def test_a_run_cancelled_before_its_turn_does_not_begin(link, tmp_path):
    link.send(InspectModel(run="inspect-3", model=ModelConfig()))
    link.send(StartRun(run="b", config=RunConfig(), folder=str(tmp_path / "b")))
    link.send(Cancel(run="b"))
    events(link, Cancelled)
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_what_libraries_print_does_not_disturb_the_line():
    code = (
        "import surgeon_engine.server as s; import builtins;"
        "old = s.inspect_model;"
        "s.inspect_model = lambda m: (builtins.print('noise'), old(m))[1];"
        "s.serve_standard_streams()"
    )
    link = EngineProcess((sys.executable, "-c", code))
    link.send(InspectModel(run="x", model=ModelConfig()))
    assert isinstance(events(link, ModelInspected)[-1].event, ModelInspected)
    link.kill()


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", "killed by the system"),
        (f"os.kill(os.getpid(), {int(signal.SIGSEGV)})", "crashed (signal 11"),
        ("sys.stderr.write('last words'); os._exit(3)", "exit code 3"),
        ("print('last words', flush=True); sys.stdin.read()", "that is no event"),
    ],
)
def test_an_engine_that_dies_is_seen_with_its_last_words(way, sentence):
    link = EngineProcess((sys.executable, "-c", f"import os, sys; {way}"))
    deadline = time.monotonic() + 20
    while not link.ended and time.monotonic() < deadline:
        assert link.receive(0.1) is None
    assert link.ended
    message, stderr_tail = link.exit_reason()
    assert sentence in message
    assert ("last words" in stderr_tail) == ("last words" in way)
    link.send(Cancel(run="x"))  # to nobody: no error
    link.kill()


def test_kill_ends_the_engine_and_what_it_started():
    code = (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "time.sleep(60)"
    )
    link = EngineProcess((sys.executable, "-c", code))
    parent = psutil.Process(link.pid)
    deadline = time.monotonic() + 20
    while not parent.children() and time.monotonic() < deadline:
        time.sleep(0.01)
    (child,) = parent.children()
    link.kill()
    assert not parent.is_running()
    assert not child.is_running()


@pytest.mark.slow
def test_an_engine_whose_owner_is_gone_ends_by_itself():
    process = subprocess.Popen(
        ENGINE_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()  # it is ready
    process.stdin.close()
    assert process.wait(timeout=20) == -signal.SIGKILL
    process.stdout.close()


def test_the_same_engine_works_in_a_thread():
    link = EngineThreadClient()
    link.send(InspectModel(run="t", model=ModelConfig()))
    assert isinstance(events(link, ModelInspected)[-1].event, ModelInspected)
    link.kill()
    while link.receive(0.0) is not None:
        pass
    assert link.ended


def test_the_outside_end_does_not_import_torch():
    code = "import sys, surgeon_engine.api.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough"),
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory"),
        (ModelError("No model.", "Choose one."), "No model."),
        (KeyError("x"), "Something went wrong that should not have: KeyError"),
    ],
)
def test_every_error_becomes_a_sentence_with_a_hint(error, sentence):
    told = failure(error)
    assert sentence in told.message
    assert told.hint
