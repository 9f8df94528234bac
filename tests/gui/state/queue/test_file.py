"""The queue survives on the disk, and one window at a time has it."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import psutil
import pytest

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import (
    FileSize,
    Method,
    Parameters,
    PruningConfig,
)
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.process_lock import ProcessLock
from surgeon_gui.state.queue.file import QueueFile, UnreadableQueueError
from surgeon_gui.state.queue.state import QueueStatus
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
    assert other.is_taken and not mine.is_taken
    mine.release()
    assert not other.is_taken
    assert other.read() == queued("a")
    assert mine.is_taken


def test_queue_of_a_killed_process_is_not_taken(tmp_path):
    QueueFile(tmp_path).write(queued("a"))
    lock = ProcessLock(psutil.Process().pid, 1.0)  # its number is used again
    (tmp_path / "queue-process.json").write_bytes(msgspec.json.encode(lock))
    file = QueueFile(tmp_path)
    assert not file.is_taken
    assert file.read() == queued("a")


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
