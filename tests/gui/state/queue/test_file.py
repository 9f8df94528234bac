"""The queue survives on the disk, and one window at a time has it."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import (
    FileSize,
    Method,
    Parameters,
    PruningConfig,
)
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.process_lock import LockedError
from surgeon_gui.state.queue.file import QueueFile, UnreadableQueueError
from surgeon_gui.state.queue.state import QueueStatus
from tests.helpers.locks import write_lock
from tests.helpers.queued_runs import queued

JOBS = (
    RunConfig(ModelConfig("/models/a"), pruning=PruningConfig(target=FileSize(12.5))),
    RunConfig(
        pruning=PruningConfig(method=Method.MAGNITUDE, target=Parameters(2.1)),
        export=ExportConfig("/out"),
    ),
)


def test_runs_are_read_as_they_were_written(tmp_path):
    runs = (
        *queued("a", config=JOBS[0], status=QueueStatus.FAILED, problem="No memory."),
        *queued("b", config=JOBS[1], status=QueueStatus.RUNNING, folder="runs/b"),
        *queued("c, 10 %", may_replace=True),
    )
    runs = (*runs[:2], replace(runs[2], estimate=None))
    file = QueueFile(tmp_path / "new" / "runs")
    file.write(runs)
    file.release()
    assert QueueFile(tmp_path / "new" / "runs").read() == runs


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
    assert other.read() == queued("a")
    assert mine.use is not None


def test_queue_of_a_killed_process_is_not_taken(tmp_path):
    killed = QueueFile(tmp_path)
    killed.write(queued("a"))
    killed.release()
    write_lock(tmp_path / "queue-process.json", created=1.0)  # its number is used again
    file = QueueFile(tmp_path)
    assert file.use is None
    assert file.read() == queued("a")


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
    assert file.read() == queued("a")
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
