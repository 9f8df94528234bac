"""The engine thread: restarts, batches of events, and the end of each request."""

import itertools
import sys
import time

import msgspec
import psutil
import pytest
from PySide6.QtCore import QTimer

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
from surgeon_engine.api.messages.run import (
    Exported,
    MemorySampled,
    Progressed,
    RunFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_gui.controllers import engine_thread
from surgeon_gui.controllers.engine_supervisor import (
    MAX_FAILED_STARTS,
    EngineSupervisor,
)
from surgeon_gui.controllers.engine_thread import (
    BATCH_SECONDS,
    MAX_EVENTS,
    EngineThread,
    coalesce_progress,
)
from surgeon_gui.state.runs.reading import RunOutcome, read_record
from tests.helpers.windows import QUICK, TIMEOUT_MS, fake_process

pytestmark = pytest.mark.waits

START = StartRun(run="run-1", config=QUICK, folder="folder")
INSPECT = InspectModel(run="inspect-1", model=ModelConfig())
MEASURE = MeasureModels(
    run="m-1", sources=("demo", "there"), settings=BenchmarkSettings()
)


class Recorder:
    """Run an engine thread and record its events."""

    def __init__(self, qtbot, make_client, cancel_timeout_s=0.3):
        self.batches = []
        self._qtbot = qtbot
        self.thread = EngineThread(make_client, cancel_timeout_s)
        self.thread.listen(self.batches.append)
        self.thread.start()

    @property
    def envelopes(self):
        """Return all envelopes so far."""
        return [envelope for batch in self.batches for envelope in batch]

    def events_of(self, kind, run=None):
        """Return the envelopes of a kind, of one run if it is given."""
        return [
            envelope
            for envelope in self.envelopes
            if isinstance(envelope.event, kind) and run in (None, envelope.run)
        ]

    def wait_for(self, kind, run=None, times=1):
        """Wait for that many events of a kind and return the latest."""

        def has_arrived():
            return len(self.events_of(kind, run)) >= times

        self._qtbot.waitUntil(has_arrived, timeout=TIMEOUT_MS)
        return self.events_of(kind, run)[-1].event


@pytest.fixture
def listen(qtbot):
    recorders = []

    def make(*options, **extra):
        recorders.append(Recorder(qtbot, fake_process(*options), **extra))
        return recorders[-1]

    yield make
    for recorder in recorders:
        recorder.thread.shut_down()


def started(listen, *options, **extra):
    """Return a recorder after the beginning of a run."""
    recorder = listen(*options, **extra)
    recorder.thread.send(START)
    recorder.wait_for(StageStarted)
    return recorder


def test_events_before_listen_are_delivered(qtbot):
    received = []

    def make_client():
        client = fake_process()()
        receive = client.receive

        def receive_and_record(timeout):
            envelope = receive(timeout)
            if envelope is not None:
                received.append(envelope)
            return envelope

        client.receive = receive_and_record
        return client

    thread = EngineThread(make_client)
    thread.start()
    qtbot.waitUntil(lambda: bool(received), timeout=TIMEOUT_MS)
    qtbot.wait(round(3 * BATCH_SECONDS * 1000))  # until its batch is complete
    batches = []
    thread.listen(batches.append)
    qtbot.waitUntil(lambda: bool(batches), timeout=TIMEOUT_MS)
    thread.shut_down()
    assert isinstance(batches[0][0].event, EngineReady)


@pytest.mark.slow
def test_slow_window_handles_other_events_between_two_batches(qtbot):
    happened = []

    def take_long(batch):
        happened.append("batch")
        time.sleep(3 * BATCH_SECONDS)

    timer = QTimer()
    timer.timeout.connect(lambda: happened.append("turn"))
    timer.start(0)
    thread = EngineThread(fake_process("--pause", "0.01"))
    thread.listen(take_long)
    thread.start()
    thread.send(START)
    qtbot.waitUntil(lambda: happened.count("batch") >= 5, timeout=TIMEOUT_MS)
    thread.shut_down()
    pairs = itertools.pairwise(happened)
    assert ("batch", "batch") not in pairs


def test_engine_that_floods_a_busy_window_has_to_wait(qtbot, monkeypatch):
    monkeypatch.setattr(engine_thread, "SHUTDOWN_GRACE_S", 0.0)
    sent = []

    class Flood:
        ended = False

        def receive(self, timeout):
            sent.append(Envelope("", 1.0, Logged(Level.INFO, "line")))
            return sent[-1]

        def send(self, command):
            sent.append(command)

        def kill(self):
            pass

    thread = EngineThread(Flood)
    thread.start()  # nothing listens yet
    qtbot.waitUntil(lambda: len(sent) >= MAX_EVENTS, timeout=TIMEOUT_MS)
    thread.send(INSPECT)
    qtbot.waitUntil(lambda: INSPECT in sent, timeout=TIMEOUT_MS)
    assert len(sent) == MAX_EVENTS + 1
    batches = []
    thread.listen(batches.append)
    qtbot.waitUntil(lambda: len(batches) >= 2, timeout=TIMEOUT_MS)
    thread.shut_down()
    assert max(map(len, batches)) == MAX_EVENTS


def test_export_and_measurement_end_with_their_responses(qtbot, listen):
    recorder = listen()
    recorder.thread.send(START)
    export = ExportConfig("there", Format.GGUF)
    recorder.thread.send(ExportRun(run="save-1", folder="folder", export=export))
    recorder.thread.send(MEASURE)
    assert recorder.wait_for(Exported, run="save-1").format is Format.GGUF
    assert len(recorder.wait_for(Measured, run="m-1").models) == 2
    recorder.wait_for(RunFinished, run="run-1")
    assert not recorder.events_of(Failed)
    qtbot.waitUntil(lambda: recorder.thread.is_idle, timeout=TIMEOUT_MS)


@pytest.mark.slow
def test_crash_of_a_measurement_does_not_fail_the_run(listen):
    recorder = listen("--mishap", "crash", "--at", "measurement")
    recorder.thread.send(START)
    recorder.thread.send(MEASURE)
    assert "killed by the system" in recorder.wait_for(Failed, run="m-1").message
    assert not recorder.events_of(Failed, "run-1")


@pytest.mark.slow
def test_crash_fails_the_run_and_restarts_the_engine(listen):
    recorder = listen("--mishap", "crash", "--at", "curvature")
    recorder.thread.send(START)
    failed = recorder.wait_for(Failed, run="run-1")
    assert "killed by the system" in failed.message
    assert "made-up kernel" in failed.details
    recorder.wait_for(EngineReady, times=2)
    recorder.thread.send(INSPECT)
    recorder.wait_for(ModelInspected, run="inspect-1")


@pytest.mark.slow
def test_crash_while_idle_is_only_logged(listen):
    recorder = listen()
    recorder.wait_for(EngineReady)
    (engine,) = psutil.Process().children()
    engine.kill()
    recorder.wait_for(EngineReady, times=2)
    assert recorder.events_of(Logged)
    assert not recorder.events_of(Failed)


def test_cancel_ends_the_run(listen):
    recorder = started(listen, "--pause", "0.02", cancel_timeout_s=10.0)
    recorder.thread.send(Cancel(run="run-1"))
    recorder.wait_for(Cancelled, run="run-1")
    assert len(recorder.events_of(EngineReady)) == 1


class Silent:
    """A client of an engine that only reports the events it is given."""

    def __init__(self):
        self.ended, self.sent, self.events = False, [], []

    def send(self, command):
        self.sent.append(command)

    def receive(self, timeout):
        return self.events.pop() if self.events else None

    def exit_reason(self):
        return "It has crashed.", ""

    def kill(self):
        self.ended = True


DETACHED = msgspec.structs.replace(START, detached=True)


def test_watched_run_that_is_cancelled_is_left_to_the_engine():
    client = Silent()
    supervisor = EngineSupervisor(lambda: client, cancel_timeout_s=0.0)
    supervisor.start()
    supervisor.send(DETACHED)
    assert supervisor.is_done  # it outlives the window
    supervisor.send(Cancel(run="run-1"))
    assert supervisor.receive(0.0) == []
    assert not supervisor.is_done  # until it has ended
    client.events = [Envelope("run-1", 0.0, Cancelled())]
    supervisor.receive(0.0)
    assert supervisor.is_idle
    assert not client.ended


def test_watched_run_outlives_a_crash_of_the_engine():
    first, second = Silent(), Silent()
    clients = [second, first]
    supervisor = EngineSupervisor(clients.pop)
    supervisor.start()
    supervisor.send(DETACHED)
    supervisor.send(INSPECT)
    first.events = [Envelope("run-1", 0.0, StageStarted(Stage.LOAD, 0), offset=70)]
    supervisor.receive(0.0)
    supervisor.send(Cancel(run="run-1"))
    first.ended = True
    (failed,) = supervisor.receive(0.0)
    assert failed.run == INSPECT.run
    watch = Watch(run="run-1", folder="folder", offset=70)
    assert second.sent == [watch, Cancel(run="run-1")]


@pytest.mark.parametrize(("stage", "times"), [(Stage.LOAD, 1), (Stage.BASELINE, 3)])
def test_run_canceled_by_killing_its_engine_has_a_folder_if_it_had_begun(
    listen, tmp_path, stage, times
):
    folder = tmp_path / "run"
    recorder = listen("--mishap", "hang", "--at", stage.value)
    recorder.thread.send(StartRun(run="run-1", config=QUICK, folder=str(folder)))
    assert recorder.wait_for(StageStarted, run="run-1", times=times).stage is stage
    recorder.thread.send(Cancel(run="run-1"))
    recorder.wait_for(Cancelled, run="run-1")
    assert folder.exists() is (stage is not Stage.LOAD)
    if folder.exists():
        assert read_record(folder).outcome is RunOutcome.CANCELLED
        assert not (folder / "process.json").exists()


@pytest.mark.parametrize("is_canceled", [True, False])
def test_run_counts_as_canceled_if_it_was_before_the_window_closed(
    listen, tmp_path, is_canceled
):
    folder = tmp_path / "run"
    recorder = listen("--mishap", "hang", "--at", "baseline", cancel_timeout_s=60.0)
    recorder.thread.send(StartRun(run="run-1", config=QUICK, folder=str(folder)))
    recorder.wait_for(StageStarted, run="run-1", times=3)
    if is_canceled:
        recorder.thread.send(Cancel(run="run-1"))
    recorder.thread.shut_down()
    expected = RunOutcome.CANCELLED if is_canceled else RunOutcome.INTERRUPTED
    assert read_record(folder).outcome is expected


def test_request_behind_a_hung_run_is_sent_to_the_next_engine(listen):
    recorder = listen("--mishap", "hang", "--at", "curvature")
    recorder.thread.send(START)
    recorder.thread.send(INSPECT)
    recorder.thread.send(Cancel(run="run-1"))
    recorder.wait_for(ModelInspected, run="inspect-1")


@pytest.mark.slow
def test_engine_that_never_starts_fails_with_its_last_output(listen):
    recorder = listen("--no-start")
    failed = recorder.wait_for(Failed, run="")
    assert "cannot import torch" in failed.details
    recorder.thread.send(INSPECT)
    recorder.wait_for(Failed, run="inspect-1")
    assert not psutil.Process().children()
    assert MAX_FAILED_STARTS > 1


def test_missing_engine_fails_with_a_reason(qtbot):
    recorder = Recorder(qtbot, lambda: EngineProcess(("/no/such/engine",)))
    failed = recorder.wait_for(Failed, run="")
    assert "No such file" in failed.details
    recorder.thread.shut_down()


def test_shut_down_in_a_hung_run_leaves_no_process(listen):
    recorder = started(listen, "--mishap", "hang", "--at", "load")
    recorder.thread.shut_down()
    assert recorder.thread.isFinished()
    assert not psutil.Process().children(recursive=True)


def test_coalesce_progress_keeps_the_last_of_each_stage():
    def progress(done, shot=1, run="run-1"):
        return Envelope(run, 0.0, Progressed(Stage.UPDATE, shot, done, 9))

    def other(event):
        return Envelope("run-1", 0.0, event)

    sample, line = other(MemorySampled(1)), other(Logged(Level.INFO, "hello"))
    begin = other(StageStarted(Stage.UPDATE, 1))
    batch = [progress(1), sample, progress(2), line, progress(3), sample]
    assert coalesce_progress(batch) == [sample, line, progress(3), sample]
    # A stage that starts again counts from the start.
    batch = [progress(8), begin, progress(1)]
    assert coalesce_progress(batch) == batch
    batch = [progress(1), progress(1, shot=2), progress(1, run="run-2")]
    assert coalesce_progress(batch) == batch


def test_send_does_not_wait(listen):
    recorder = started(listen, "--mishap", "hang", "--at", "load")
    before = time.process_time()
    for number in range(1_000):
        recorder.thread.send(InspectModel(run=f"inspect-{number}", model=ModelConfig()))
    assert time.process_time() - before < 1.0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None cannot be freed any more")
def test_calls_without_result_do_not_release_none(qtbot):
    thread = EngineThread(fake_process())
    before = sys.getrefcount(None)
    for _ in range(6_000):
        thread.setObjectName("name")
    assert abs(sys.getrefcount(None) - before) < 500
