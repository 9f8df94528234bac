"""A paused run waits without losing events, and its clock stops."""

import errno
import queue
import threading

import pytest

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.commands import Cancel, Pause, Resume, StopAndKeep
from surgeon_engine.api.messages.events import Cancelled, Envelope, Logged
from surgeon_engine.api.messages.run import (
    MemorySampled,
    Paused,
    Progressed,
    Resumed,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import RunCancelled
from surgeon_engine.base.sealed_json import decode_sealed_line
from surgeon_engine.runtime import run_context as session_module
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.fake_engine import shot_finished
from tests.helpers.runs import Recorder, job, skip_verification

ASIDE = {"run": "test"}


class Clock:
    """A clock that a test advances."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1e9 + self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(session_module, "time", made)
    return made


@pytest.fixture
def recorder():
    return Recorder()


def when(kind, action):
    """Return a function that calls `action` on events of a type."""
    return lambda event: action() if isinstance(event, kind) else None


@pytest.mark.parametrize(("command", "stops"), [(Resume, False), (StopAndKeep, True)])
def test_pause_is_reported_and_ends_on_a_command(recorder, command, stops):
    recorder.context.handle(Pause(**ASIDE))
    recorder.react = when(Paused, lambda: recorder.context.handle(command(**ASIDE)))
    recorder.context.raise_if_cancelled()
    assert recorder.events == [Paused(), Resumed()]
    assert recorder.context.stops_after_shot is stops
    recorder.context.raise_if_cancelled()
    assert len(recorder.events) == 2


def test_pause_resumed_before_the_next_check_does_not_happen(recorder):
    recorder.context.handle(Pause(**ASIDE))
    recorder.context.handle(Resume(**ASIDE))
    recorder.context.raise_if_cancelled()
    assert recorder.events == []


def test_paused_run_can_be_cancelled(recorder):
    recorder.context.handle(Pause(**ASIDE))
    recorder.react = when(Paused, lambda: recorder.context.handle(Cancel(**ASIDE)))
    with pytest.raises(RunCancelled):
        recorder.context.raise_if_cancelled()
    assert recorder.events == [Paused()]


def test_run_stops_after_the_requested_shot(recorder):
    recorder.context.stop_after = 2
    for shot in (1, 2):
        assert not recorder.context.stops_after_shot
        recorder.context.emit(shot_finished(shot, 3, 0.3))
    assert recorder.context.stops_after_shot


def test_pause_right_after_a_pause_is_another_one(recorder):
    def resume():
        recorder.context.handle(Resume(**ASIDE))

    def hurry():
        resume()
        recorder.context.handle(Pause(**ASIDE))

    recorder.context.handle(Pause(**ASIDE))
    recorder.react = when(Paused, hurry)
    recorder.context.raise_if_cancelled()
    assert recorder.events == [Paused(), Resumed()]
    recorder.react = when(Paused, resume)
    recorder.context.raise_if_cancelled()
    assert recorder.events == [Paused(), Resumed()] * 2


def test_event_is_in_the_folder_before_it_is_sent(recorder, tmp_path):
    folder, kept = RunFolder(tmp_path), []
    recorder.context.begin(folder, lambda: MemorySampled(1))
    recorder.react = lambda event: kept.append(folder.events_path.read_bytes())
    recorder.context.emit(Resumed())
    assert b"Resumed" in kept[0]


def test_another_thread_can_end_the_pause():
    envelopes: queue.Queue = queue.Queue()
    context = RunContext("test", envelopes.put)
    context.handle(Pause(**ASIDE))
    run = threading.Thread(target=context.raise_if_cancelled)
    run.start()
    assert envelopes.get(timeout=10).event == Paused()
    assert run.is_alive()
    context.handle(Resume(**ASIDE))
    run.join(timeout=10)
    assert not run.is_alive()
    assert envelopes.get_nowait().event == Resumed()


def test_paused_time_counts_neither_in_stages_nor_in_the_run(clock, recorder):
    def rest():
        clock.now += 50
        recorder.context.handle(Resume(**ASIDE))

    recorder.react = when(Paused, rest)
    with recorder.context.stage(Stage.UPDATE, 1, total=2) as step:
        clock.now += 2
        recorder.context.handle(Pause(**ASIDE))
        step()
        clock.now += 1
        step()
    assert recorder.context.seconds_of_stages["update"] == 3
    assert recorder.context.seconds == 3


def test_pause_does_not_hurry_progress(clock, recorder):
    recorder.react = when(Paused, lambda: recorder.context.handle(Resume(**ASIDE)))
    with recorder.context.stage(Stage.UPDATE, 1, total=3) as step:
        recorder.context.handle(Pause(**ASIDE))
        step()
    assert not [event for event in recorder.events if isinstance(event, Progressed)]


def test_work_that_is_done_again_is_counted_and_can_be_canceled(clock, recorder):
    with (
        pytest.raises(RunCancelled),
        recorder.context.stage(Stage.EVALUATION, total=2) as step,
    ):
        for _ in range(3):
            clock.now += 1
            step()
        recorder.context.handle(Cancel(**ASIDE))
        step()
    assert [event.done for event in recorder.of(Progressed)] == [1, 2, 3]


def test_memory_is_reported_at_most_once_a_second(clock, recorder, tmp_path):
    samples = (MemorySampled(number) for number in range(100))
    recorder.context.begin(None, lambda: next(samples))
    for _ in range(30):
        recorder.context.raise_if_cancelled()
        clock.now += 0.25
    envelopes = [event for event in recorder.events if isinstance(event, MemorySampled)]
    assert envelopes == [MemorySampled(number) for number in range(8)]


def test_memory_is_not_sampled_before_a_run_begins(recorder):
    recorder.context.raise_if_cancelled()
    assert recorder.events == []


@pytest.mark.slow
def test_run_with_a_pause_ends_like_one_without(tmp_path, monkeypatch):
    skip_verification(monkeypatch)
    config = job(tmp_path, shots=2)
    plain = Recorder().run(config, tmp_path / "plain")
    paused = Recorder()

    def react(event):
        if isinstance(event, StageStarted) and event.stage is Stage.UPDATE:
            paused.context.handle(Pause(**ASIDE))
        elif isinstance(event, Paused):
            paused.context.handle(Resume(**ASIDE))

    paused.react = react
    paused.run(config, tmp_path / "paused")
    assert len(paused.of(Paused)) == len(paused.of(Resumed)) == 2
    for one, other in zip(plain.of(ShotFinished), paused.of(ShotFinished), strict=True):
        assert one.layers == other.layers
        assert one.evaluation == other.evaluation
    lines = RunFolder(tmp_path / "paused").log_lines()
    kept = [decode_sealed_line(each, Envelope).event for each in lines]
    assert kept.count(Paused()) == kept.count(Resumed()) == 2


@pytest.mark.slow
def test_run_reports_its_memory_use(tmp_path, monkeypatch):
    skip_verification(monkeypatch)
    run = Recorder().run(job(tmp_path), tmp_path / "run")
    samples = run.of(MemorySampled)
    assert samples
    assert all(sample.process_bytes > 50_000_000 for sample in samples)


def test_events_are_logged_once_the_disk_has_room_again(tmp_path, monkeypatch):
    run, sent = RunFolder(tmp_path / "run"), []
    with run.created(RunConfig()):
        pass
    context = RunContext("run", sent.append)
    context.log = run
    append = RunFolder.append

    def full(self, envelope):
        run.events_path.write_bytes(b'{"cut off')
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunFolder, "append", full)
    context.emit(StageStarted(Stage.LOAD, 0))
    monkeypatch.setattr(RunFolder, "append", append)
    context.emit(Cancelled())
    with run.events_path.open("ab") as log:
        log.write(b'{"cut off')  # by the end of the process
    context.record(run, Resumed())  # such as a later export
    logged = [decode_sealed_line(line, Envelope).event for line in run.log_lines()]
    assert isinstance(logged[1], Logged)
    others = [StageStarted(Stage.LOAD, 0), Cancelled(), Resumed()]
    assert [logged[0], *logged[2:]] == others
