"""The queue: its order, its runs, checks and texts, and its files."""

import os
from dataclasses import replace

import pytest

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import Method, PruningConfig, Target
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.process_lock import LockedError
from surgeon_gui.base import translation
from surgeon_gui.state.queue import text
from surgeon_gui.state.queue.checks import add_obstacle, begin_obstacle
from surgeon_gui.state.queue.file import QueueFile, UnreadableQueueError
from surgeon_gui.state.queue.state import (
    QueueState,
    QueueStatus,
    can_move,
    restored,
    with_added,
    with_moved,
    with_status,
    without,
    working,
)
from surgeon_gui.state.queue.text import run_name
from surgeon_gui.text.problems import Kind, Problem, Step
from tests.helpers.fake_machine import machine
from tests.helpers.locks import write_lock
from tests.helpers.queued_runs import JOB, queued, ready_state

S = QueueStatus


def names(state):
    return [run.name for run in state.runs]


def statuses(state):
    return [run.status for run in state.runs]


@pytest.fixture
def three():
    return with_added(QueueState(), queued("a", "b", "c"))


def test_runs_are_added_at_the_end_under_names_of_their_own(three):
    state = with_added(three, queued("b", "b", "d"))
    assert names(state) == ["a", "b", "c", "b (2)", "b (3)", "d"]
    assert state.next.name == "a"
    assert not state.is_working


def test_runs_that_have_ended_stay_until_a_new_queue_begins(three):
    state = with_status(without(three, "c"), "a", S.FINISHED)
    assert names(with_added(state, queued("d"))) == ["a", "b", "d"]
    complete = with_status(state, "b", S.FAILED)
    assert names(with_added(complete, queued("a"))) == ["a"]


def test_waiting_runs_change_places(three):
    assert names(with_moved(three, "b", -1)) == ["b", "a", "c"]
    assert names(with_moved(three, "b", 1)) == ["a", "c", "b"]
    assert with_moved(three, "a", -1) == three
    assert with_moved(three, "c", 1) == three


def test_run_in_progress_cannot_be_overtaken_or_removed(three):
    state = with_status(three, "a", S.RUNNING, folder="runs/a")
    assert not can_move(state, "b", -1)
    assert not can_move(state, "a", 1)
    assert with_moved(state, "b", -1) == state
    assert names(without(state, "a")) == ["a", "b", "c"]
    assert names(without(state, "b")) == ["a", "c"]
    assert names(without(state, *names(state))) == ["a"]
    assert names(without(three, *names(three))) == []


def test_restored_queue_is_paused_and_offered(three):
    state = with_status(
        with_status(three, "a", S.RUNNING, folder="runs/a"), "a", S.FINISHED
    )
    state = restored(with_status(working(state), "b", S.RUNNING, folder="runs/b").runs)
    assert state.is_offered and not state.is_working
    assert statuses(state) == [S.FINISHED, S.WAITING, S.WAITING]
    assert state.next.name == "b" and state.next.folder == "runs/b"
    assert not working(state).is_offered


def test_queue_without_a_waiting_run_is_not_offered():
    assert not restored(()).is_offered
    assert not restored(queued("a", status=S.FINISHED)).is_offered
    ended = QueueState(queued("a", status=S.CANCELLED), is_offered=True)
    assert not with_added(ended, queued("b")).is_offered


def plain(words):
    return words.replace("\xa0", " ")


def test_status_of_a_waiting_run_is_its_time():
    (run,) = queued("a")
    assert plain(text.status(run)) == "about 20 min"
    assert (
        plain(text.details(run))
        == "about 20 min, up to 2.0 GB on the disk while it runs"
    )
    assert text.status(replace(run, estimate=None)) == "Waiting"
    assert text.status(replace(run, folder="runs/a")) == "Interrupted"
    assert text.status(replace(run, status=S.RUNNING)) == "Running"


def test_details_of_a_failed_run_are_its_problem():
    (run,) = queued("a", status=S.FAILED, problem="No memory.")
    assert text.status(run) == "Failed"
    assert text.details(run) == "No memory."
    assert text.line(run) == f"{run.name}: No memory."


@pytest.mark.parametrize(
    ("runs", "summary"),
    [
        (
            (),
            "The queue is empty. Fill it by “Sweep…”, or by “Add to queue” in the menu "
            "“Run”.",
        ),
        (
            queued("a"),
            "1 run waits: about 20 min, up to 2.0 GB on the disk while it runs.",
        ),
        (
            queued("a", "b"),
            "2 runs wait: about 40 min, up to 4.0 GB on the disk while they run.",
        ),
        (queued("a", status=S.RUNNING), "No run waits."),
        (
            (*queued("a", "b", status=S.FINISHED), *queued("c", status=S.FAILED)),
            "The queue has ended. 2 runs finished, 1 failed.",
        ),
        (queued("a", status=S.FINISHED), "The queue has ended. 1 run finished."),
    ],
)
def test_summary(runs, summary):
    assert plain(text.summary(QueueState(runs), is_busy=False)) == summary


def test_run_in_progress_has_its_place_among_several(three):
    assert text.place(three) == ""
    one, two, other = three.runs
    ended, running = replace(one, status=S.FAILED), replace(two, status=S.RUNNING)
    assert text.place(QueueState((ended, running, other))).startswith("2 of 3 ")
    assert text.place(QueueState((running,))) == ""


def test_summary_says_that_the_queue_waits_for_the_engine():
    state = working(QueueState(queued("a")))
    assert "when the engine is free" in text.summary(state, is_busy=True)
    assert "when the engine is free" not in text.summary(state, is_busy=False)


def test_ending_counts_the_runs():
    ended = (*queued("a", status=S.FINISHED), *queued("b", "c", status=S.FAILED))
    words = "The queue has ended. 1 run finished, 2 failed."
    assert text.ending(QueueState(ended)) == words
    cancelled = (*ended, *queued("d", status=S.CANCELLED))
    assert "1 was canceled." in text.ending(QueueState(cancelled))
    stopped = QueueState((*ended, *queued("e")))
    assert text.ending(stopped) == (
        "The queue was stopped. 1 run finished, 2 failed. 1 run still waits."
    )


def test_notes_count_the_waiting_runs():
    state = QueueState(queued("a", "b"))
    assert "2 runs wait" in text.offer(state)
    assert text.kept_note(state) == "2 waiting runs stay in the queue."
    assert text.kept_note(QueueState(queued("a", status=S.RUNNING))) == ""


EMPTY = QueueState()


def test_draft_with_a_problem_cannot_be_added(tmp_path):
    problem = Problem(Kind.ERROR, {"message": "Too small.", "hint": ""}, Step.TARGET)
    state = ready_state(tmp_path, problems={Step.TARGET: (problem,)})
    assert add_obstacle(state, EMPTY) == problem
    state = replace(state, problems={}, model_is_chosen=False)
    assert add_obstacle(state, EMPTY).kind is Kind.NO_MODEL


def test_two_runs_cannot_wait_for_one_destination(tmp_path):
    config = RunConfig(export=ExportConfig(str(tmp_path / "out")))
    same = RunConfig(export=ExportConfig(str(tmp_path / "else" / ".." / "out")))
    state = ready_state(tmp_path / "runs", config)
    queue = with_added(EMPTY, queued("a", config=same))
    assert add_obstacle(state, queue).values["run"] == "a"
    ended = QueueState(queued("a", config=same, status=QueueStatus.FAILED))
    assert add_obstacle(state, ended) is None
    assert add_obstacle(ready_state(tmp_path / "runs"), queue) is None


@pytest.mark.parametrize("free", [0, 10**8])
def test_run_cannot_begin_without_memory(tmp_path, free):
    (run,) = queued("a")
    obstacle = begin_obstacle(run, str(tmp_path), machine(free))
    assert obstacle.kind is Kind.RESOURCE_SHORT


def test_run_cannot_begin_after_its_model_was_deleted(tmp_path):
    (run,) = queued("a", config=RunConfig(ModelConfig(str(tmp_path / "model"))))
    assert begin_obstacle(run, str(tmp_path), machine())


def test_run_cannot_begin_where_files_have_appeared(tmp_path):
    out = tmp_path / "out"
    (run,) = queued("a", config=RunConfig(export=ExportConfig(str(out))))
    assert begin_obstacle(run, str(tmp_path / "runs"), machine()) is None
    out.mkdir()
    (out / "thesis.tex").touch()
    problem = begin_obstacle(run, str(tmp_path / "runs"), machine())
    assert problem.step is Step.EXPORT


JOBS = (
    RunConfig(
        ModelConfig("/models/a"),
        pruning=PruningConfig(target=Target.FILE_SIZE, megabytes=12.5),
    ),
    RunConfig(
        pruning=PruningConfig(
            method=Method.MAGNITUDE, target=Target.PARAMETERS, million_parameters=2.1
        ),
        export=ExportConfig("/out"),
    ),
)


def test_runs_are_read_as_they_were_written(tmp_path):
    a, b, c = map(run_name, (*JOBS, JOB))
    runs = (
        *queued(a, config=JOBS[0], status=QueueStatus.FAILED, problem="No memory."),
        *queued(b, config=JOBS[1], status=QueueStatus.RUNNING, folder="runs/b"),
        *queued(c, f"{c} (2)", may_replace=True),
    )
    runs = (*runs[:2], replace(runs[2], estimate=None), runs[3])
    file = QueueFile(tmp_path / "new" / "runs")
    file.write(runs)
    file.release()
    again = QueueFile(tmp_path / "new" / "runs")
    assert again.read() == runs
    translation.use("de")
    try:
        assert "weniger entfernbare Gewichte" in again.read()[2].name
    finally:
        translation.use("en")


def test_queue_of_another_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("surgeon_gui.state.queue.file.QUEUE", 2)
        file = QueueFile(tmp_path)
        file.write(queued("a"))
        file.release()
    with pytest.raises(UnreadableQueueError, match=r"version 2 .* reads version 1"):
        QueueFile(tmp_path).read()


def test_no_file_is_an_empty_queue(tmp_path):
    file = QueueFile(tmp_path / "runs")
    assert file.read() == ()
    file.write(())
    assert not (tmp_path / "runs").exists()


def test_empty_queue_leaves_no_files(tmp_path):
    file = QueueFile(tmp_path)
    file.write(queued("a"))
    assert len(list(tmp_path.iterdir())) == 2
    file.write(())
    assert not list(tmp_path.iterdir())


def test_queue_of_another_window_is_taken_until_it_is_released(tmp_path):
    mine, other = QueueFile(tmp_path), QueueFile(tmp_path)
    mine.write(queued("a"))
    assert other.use is not None and mine.use is None
    mine.release()
    assert other.use is None
    assert other.read() == queued(run_name(JOB))
    assert mine.use is not None


def test_queue_of_a_killed_process_is_not_taken(tmp_path):
    killed = QueueFile(tmp_path)
    killed.write(queued("a"))
    killed.release()
    write_lock(tmp_path / "queue-process.json", created=1.0)  # its number is used again
    file = QueueFile(tmp_path)
    assert file.use is None
    assert file.read() == queued(run_name(JOB))


def test_queue_of_another_computer_is_taken_until_a_person_says_otherwise(tmp_path):
    first = QueueFile(tmp_path)
    first.write(queued("a"))
    first.release()
    holder = write_lock(tmp_path / "queue-process.json")
    file = QueueFile(tmp_path)
    assert file.use == (holder, True)
    with pytest.raises(LockedError):
        file.write(queued("b"))
    file.take_over()
    assert file.read() == queued(run_name(JOB))
    assert file.is_mine


@pytest.mark.parametrize("name", ["queue.json", "queue-process.json"])
def test_pipe_in_place_of_a_file_is_no_queue(tmp_path, name):
    (tmp_path / "queue.json").write_text('{"runs": []}')
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    file = QueueFile(tmp_path)
    assert file.use is None
    with pytest.raises((UnreadableQueueError, UnreadableFileError)):
        file.read()
        file.write(queued("a"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\xff",
        '{"runs": [{"name": "a"}]}',
        '{"runs": [{"name": "a", "job": "model = 1", "estimate": null, '
        '"status": "waiting", "folder": "", "problem": ""}]}',
    ],
)
def test_damaged_file_cannot_be_read(tmp_path, text):
    (tmp_path / "queue.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UnreadableQueueError):
        QueueFile(tmp_path).read()


def test_flipped_digit_of_a_job_is_noticed(tmp_path):
    file = QueueFile(tmp_path)
    file.write(queued("a"))
    whole = file.path.read_bytes()
    digit = whole.index(b"seed = 0") + len("seed = ")
    file.path.write_bytes(whole[:digit] + b"1" + whole[digit + 1 :])
    with pytest.raises(UnreadableQueueError, match="checksum"):
        file.read()
