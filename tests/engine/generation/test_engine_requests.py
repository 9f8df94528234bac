"""The engine keeps the playground's models until other work needs the memory."""

import queue
import sys
import threading

import psutil
import pytest

from surgeon_engine import server
from surgeon_engine.api.config.run import Device, ModelConfig
from surgeon_engine.api.messages.benchmark import BenchmarkSettings
from surgeon_engine.api.messages.commands import (
    Cancel,
    Generate,
    InspectModel,
    MeasureModels,
)
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.generation import (
    Generated,
    GenerationSettings,
    ModelsLoaded,
    Side,
    TokenWritten,
)
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.base.calls import ModelProcess
from surgeon_engine.base.errors import RunCancelled
from surgeon_engine.generation import pair
from surgeon_engine.generation.generate import Playground
from tests.helpers.generation import GenerationRecorder, WorkerClient
from tests.helpers.tiny_models import save_tiny_model

TIMEOUT_S = 60  # seconds
# Returns its argument; does not return if that is negative, and exits if it is 0.
ECHO = """
import json, sys
for line in sys.stdin:
    (number,) = json.loads(line)["arguments"]
    if number == 0:
        sys.exit()
    if number > 0:
        print(json.dumps({"type": "Returned", "value": number}), flush=True)
"""


@pytest.fixture
def folders(tmp_path):
    return [str(save_tiny_model(tmp_path / str(seed), seed=seed)) for seed in range(2)]


@pytest.fixture
def engine(monkeypatch):
    """Return an engine in a thread, with models in this process."""
    monkeypatch.setattr(pair, "ModelProcess", WorkerClient)
    monkeypatch.setattr(WorkerClient, "opened", [])
    arrived: queue.Queue = queue.Queue()
    made = server.Engine(arrived.put)
    thread = threading.Thread(target=made.serve)
    thread.start()

    def ask(command, *kinds):
        made.handle(command)
        while True:
            envelope = arrived.get(timeout=TIMEOUT_S)
            if envelope.run == command.run and isinstance(envelope.event, kinds):
                return envelope.event

    made.ask = ask
    yield made
    made.stop()
    thread.join()
    assert not any(child.is_alive for child in WorkerClient.opened)


def generate(folders, run="generate-1", **settings):
    chosen = GenerationSettings(**{"new_tokens": 3, "device": Device.CPU} | settings)
    return Generate(
        run=run, original=folders[0], pruned=folders[1], prompt="A", settings=chosen
    )


def are_in_memory():
    return [child.is_alive for child in WorkerClient.opened] == [True, True]


@pytest.mark.slow
def test_only_requests_that_need_memory_close_the_models(engine, folders):
    assert engine.ask(generate(folders), Generated, Failed).original.tokens == 3
    model = ModelConfig(folders[0])
    engine.ask(InspectModel(run="inspect-1", model=model), ModelInspected)
    assert are_in_memory()
    engine.ask(
        MeasureModels(run="measure-1", sources=(), settings=BenchmarkSettings()), Failed
    )
    assert not are_in_memory()


@pytest.mark.slow
def test_idle_models_are_closed(engine, folders, monkeypatch):
    monkeypatch.setattr(server, "_IDLE_TIMEOUT_S", 0.01)
    closed = threading.Event()
    close = Playground.close

    def close_and_record(playground):
        is_open = playground.is_open
        close(playground)
        if is_open:
            closed.set()

    monkeypatch.setattr(Playground, "close", close_and_record)
    engine.ask(generate(folders), Generated)
    assert closed.wait(TIMEOUT_S)
    assert not are_in_memory()
    assert engine.ask(generate(folders, "generate-2"), Generated)


@pytest.mark.slow
def test_request_after_a_cancelled_one_is_handled(engine, folders):
    engine.ask(generate(folders, new_tokens=50), TokenWritten)
    engine.handle(Cancel(run="generate-1"))
    assert engine.ask(generate(folders, "generate-2"), Generated).pruned.tokens == 3
    assert are_in_memory()


def test_response_to_abandoned_request_is_discarded():
    command = (sys.executable, "-c", ECHO)
    with ModelProcess("model", command) as child:
        with pytest.raises(RunCancelled):
            child.call("echo", (1,), int, cancel)
        assert child.wait_until_idle(TIMEOUT_S)
        assert child.call("echo", (2,), int, lambda: None) == 2


def test_silent_or_ended_process_does_not_become_idle():
    command = (sys.executable, "-c", ECHO)
    for number, timeout in ((-1, 0.01), (0, TIMEOUT_S)):
        with ModelProcess("model", command) as child:
            with pytest.raises(RunCancelled):
                child.call("echo", (number,), int, cancel)
            assert not child.wait_until_idle(timeout)


def cancel():
    raise RunCancelled


@pytest.mark.runtimes
def test_models_in_processes_generate_the_same(folders, monkeypatch):
    playground = Playground()
    recorder = GenerationRecorder().generate(playground, *folders, temperature=1.0)
    assert len(psutil.Process().children(recursive=True)) == 2
    assert recorder.of(ModelsLoaded) == [ModelsLoaded(False)]
    for answer in (recorder.response.original, recorder.response.pruned):
        assert answer.memory_bytes > 50_000_000
    monkeypatch.setattr(pair, "ModelProcess", WorkerClient)
    here = GenerationRecorder().generate(Playground(), *folders, temperature=1.0)
    for side in Side:
        assert recorder.text(side) == here.text(side)
        assert [x.nats for x in recorder.found(side)] == pytest.approx(
            [x.nats for x in here.found(side)], rel=1e-4, abs=1e-6
        )
    playground.close()
    assert not psutil.Process().children(recursive=True)


def test_cancel_while_models_are_loaded_leaves_no_process(folders):
    playground, recorder = Playground(), GenerationRecorder()
    recorder.react = lambda event: recorder.context.handle(Cancel(run="test"))
    with pytest.raises(RunCancelled):
        recorder.generate(playground, *folders)
    assert not playground.is_open
    assert not psutil.Process().children(recursive=True)
