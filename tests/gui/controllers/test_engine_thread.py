"""The thread keeps an engine alive, and every request gets exactly one ending."""

from __future__ import annotations

import sys
import time

import psutil
import pytest

from surgeon_engine.api.client import EngineProcess
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.benchmark import BenchmarkSettings, Measured
from surgeon_engine.api.messages.commands import (
    Cancel,
    ExportRun,
    InspectModel,
    MeasureModels,
    StartRun,
)
from surgeon_engine.api.messages.events import (
    Cancelled,
    EngineReady,
    Envelope,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.run import (
    Exported,
    MemorySampled,
    Progressed,
    RunFinished,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_gui.controllers.engine_supervisor import MAX_FAILED_STARTS
from surgeon_gui.controllers.engine_thread import EngineThread, coalesce_progress
from tests.helpers.fake_engine import OUTSIDE_OF_SHOTS, STAGES_OF_A_SHOT, UNITS
from tests.helpers.windows import QUICK, TIMEOUT_MS, fake_process

START = StartRun(run="run-1", config=QUICK, folder="folder")
INSPECT = InspectModel(run="inspect-1", model=ModelConfig())


class Ear:
    """Runs an engine thread and remembers what it tells."""

    def __init__(self, qtbot, make_client, cancel_timeout_s=0.3):
        self.batches = []
        self._qtbot = qtbot
        self.thread = EngineThread(make_client, cancel_timeout_s)
        self.thread.listen(self.batches.append)
        self.thread.start()

    @property
    def envelopes(self):
        """All that was told so far."""
        return [envelope for batch in self.batches for envelope in batch]

    def heard(self, kind, run=None):
        """What was told of that kind, under that name if one is given."""
        return [
            envelope
            for envelope in self.envelopes
            if isinstance(envelope.event, kind) and run in (None, envelope.run)
        ]

    def wait_for(self, kind, run=None, times=1):
        """The latest event of that kind, once there have been so many."""

        def has_come():
            return len(self.heard(kind, run)) >= times

        self._qtbot.waitUntil(has_come, timeout=TIMEOUT_MS)
        return self.heard(kind, run)[-1].event


@pytest.fixture
def listen(qtbot):
    ears = []

    def make(*options, **extra):
        ears.append(Ear(qtbot, fake_process(*options), **extra))
        return ears[-1]

    yield make
    for ear in ears:
        ear.thread.shut_down()


def test_the_engine_is_warm_before_it_is_asked_anything(listen):
    listen().wait_for(EngineReady)


def test_what_comes_before_anyone_listens_is_not_lost(qtbot):
    thread = EngineThread(fake_process())
    thread.start()
    qtbot.waitUntil(lambda: bool(thread._untold), timeout=TIMEOUT_MS)
    batches = []
    thread.listen(batches.append)
    qtbot.waitUntil(lambda: bool(batches), timeout=TIMEOUT_MS)
    thread.shut_down()
    assert isinstance(batches[0][0].event, EngineReady)


def test_a_request_is_answered_under_its_name(listen):
    ear = listen()
    ear.thread.send(INSPECT)
    ear.wait_for(ModelInspected, run="inspect-1")


def test_a_run_goes_from_start_to_finish(listen):
    ear = listen()
    ear.thread.send(START)
    ear.wait_for(RunFinished, run="run-1")
    assert not ear.heard(Failed)


def test_a_save_ends_with_its_files_and_a_measurement_with_its_figures(qtbot, listen):
    ear = listen()
    ear.thread.send(START)
    export = ExportConfig("there", Format.GGUF)
    ear.thread.send(ExportRun(run="save-1", folder="folder", export=export))
    sources = ("demo", "there")
    ear.thread.send(
        MeasureModels(run="m-1", sources=sources, settings=BenchmarkSettings())
    )
    assert ear.wait_for(Exported, run="save-1").format is Format.GGUF
    assert len(ear.wait_for(Measured, run="m-1").models) == 2
    ear.wait_for(RunFinished, run="run-1")
    qtbot.waitUntil(lambda: ear.thread._supervisor.idle, timeout=TIMEOUT_MS)


def test_a_crash_while_measuring_is_no_failure_of_the_run(listen):
    ear = listen("--mishap", "crash", "--at", "measurement")
    ear.thread.send(START)
    sources = ("demo", "there")
    ear.thread.send(
        MeasureModels(run="m-1", sources=sources, settings=BenchmarkSettings())
    )
    assert "killed by the system" in ear.wait_for(Failed, run="m-1").message
    assert not ear.heard(Failed, "run-1")


def test_a_crash_becomes_a_failure_in_words_and_the_engine_comes_back(listen):
    ear = listen("--mishap", "crash", "--at", "curvature")
    ear.thread.send(START)
    failed = ear.wait_for(Failed, run="run-1")
    assert "killed by the system" in failed.message
    assert "made-up kernel" in failed.details
    ear.wait_for(EngineReady, times=2)
    ear.thread.send(INSPECT)
    ear.wait_for(ModelInspected, run="inspect-1")


def test_a_crash_while_idle_is_only_logged(listen):
    ear = listen()
    ear.wait_for(EngineReady)
    (engine,) = psutil.Process().children()
    engine.kill()
    ear.wait_for(EngineReady, times=2)
    assert ear.heard(Logged)
    assert not ear.heard(Failed)


def test_a_cancel_is_obeyed(listen):
    ear = listen("--pause", "0.02", cancel_timeout_s=10.0)
    ear.thread.send(START)
    ear.wait_for(StageStarted)
    ear.thread.send(Cancel(run="run-1"))
    ear.wait_for(Cancelled, run="run-1")
    assert len(ear.heard(EngineReady)) == 1


def test_a_cancel_that_is_not_obeyed_ends_the_engine(listen):
    ear = listen("--mishap", "hang", "--at", "curvature")
    ear.thread.send(START)
    ear.wait_for(StageStarted)
    ear.thread.send(Cancel(run="run-1"))
    ear.wait_for(Cancelled, run="run-1")
    ear.wait_for(EngineReady, times=2)
    assert not ear.heard(Failed)


def test_what_waited_behind_a_hung_run_is_still_answered(listen):
    ear = listen("--mishap", "hang", "--at", "curvature")
    ear.thread.send(START)
    ear.thread.send(INSPECT)
    ear.thread.send(Cancel(run="run-1"))
    ear.wait_for(ModelInspected, run="inspect-1")


def test_an_engine_that_never_starts_is_given_up_with_its_last_words(listen):
    ear = listen("--no-start")
    failed = ear.wait_for(Failed, run="")
    assert "cannot import torch" in failed.details
    ear.thread.send(INSPECT)
    ear.wait_for(Failed, run="inspect-1")
    assert not psutil.Process().children()
    assert MAX_FAILED_STARTS > 1


def test_an_engine_that_is_not_there_is_told(qtbot):
    ear = Ear(qtbot, lambda: EngineProcess(("/no/such/engine",)))
    failed = ear.wait_for(Failed, run="")
    assert "No such file" in failed.details
    ear.thread.shut_down()


def test_shutting_down_in_a_hung_run_leaves_no_process(listen):
    ear = listen("--mishap", "hang", "--at", "load")
    ear.thread.send(START)
    ear.wait_for(StageStarted)
    ear.thread.shut_down()
    assert ear.thread.isFinished()
    assert not psutil.Process().children(recursive=True)


def test_a_flood_loses_nothing_but_progress_that_is_overtaken(listen):
    ear = listen("--flood", "3000")
    ear.thread.send(START)
    ear.wait_for(RunFinished)
    times = [envelope.at for envelope in ear.envelopes]
    assert times == sorted(times)
    assert len(times) < 1_000
    assert len(ear.heard(ShotFinished)) == QUICK.pruning.shots
    stages = len(OUTSIDE_OF_SHOTS) + QUICK.pruning.shots * len(STAGES_OF_A_SHOT)
    assert len(ear.heard(StageStarted)) == stages
    ends = [x for x in ear.heard(Progressed) if x.event.done == UNITS]
    assert len(ends) == stages


def test_only_the_last_progress_of_a_stage_is_told_and_all_else():
    def progress(done, shot=1, run="run-1"):
        return Envelope(run, 0.0, Progressed(Stage.UPDATE, shot, done, 9))

    def other(event):
        return Envelope("run-1", 0.0, event)

    sample, line = other(MemorySampled(1)), other(Logged(Level.INFO, "hello"))
    begin = other(StageStarted(Stage.UPDATE, 1))
    batch = [progress(1), sample, progress(2), line, progress(3), sample]
    assert coalesce_progress(batch) == [sample, line, progress(3), sample]
    # A stage that begins anew begins to count anew.
    batch = [progress(8), begin, progress(1)]
    assert coalesce_progress(batch) == batch
    batch = [progress(1), progress(1, shot=2), progress(1, run="run-2")]
    assert coalesce_progress(batch) == batch


def test_commands_are_taken_without_waiting(listen):
    ear = listen("--mishap", "hang", "--at", "load")
    ear.thread.send(START)
    ear.wait_for(StageStarted)
    before = time.process_time()
    for number in range(1_000):
        ear.thread.send(InspectModel(run=f"inspect-{number}", model=ModelConfig()))
    assert time.process_time() - before < 1.0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None cannot be freed any more")
def test_calls_that_return_nothing_do_not_use_up_none(qtbot):
    thread = EngineThread(fake_process())
    before = sys.getrefcount(None)
    for _ in range(6_000):
        thread.setObjectName("name")
    assert abs(sys.getrefcount(None) - before) < 500
