"""Copies of runs from another computer: complete, or nothing."""

from __future__ import annotations

import pytest

from surgeon_engine.api.fetch import FetchCancelled, fetch_run
from surgeon_engine.api.ssh import Computer, ConnectionFailed
from tests.helpers.loopback_ssh import NEEDS_SSH, LoopbackSsh

SLEEPING = ("sh", "-c", "exec sleep 60")
NAMES = ("run.toml", "events.jsonl", "report.json")


def fetch(target, folder="/runs/first", *, sftp, with_model=False, **extra):
    computer = Computer(extra.pop("host", "box"))
    more = {"progress": lambda _: None, "with_model": with_model, "sftp": sftp} | extra
    fetch_run(computer, str(folder), target, **more)


def test_cancelled_copy_leaves_nothing(tmp_path):
    def cancel(_):
        raise FetchCancelled

    with pytest.raises(FetchCancelled):
        fetch(tmp_path / "runs" / "first", sftp=SLEEPING, progress=cancel)
    assert list((tmp_path / "runs").iterdir()) == []


def test_failed_copy_leaves_nothing_and_says_why(tmp_path):
    failing = ("sh", "-c", "echo 'No space left on device' >&2; exit 1")
    with pytest.raises(ConnectionFailed, match="No space left on device"):
        fetch(tmp_path / "runs" / "first", sftp=failing)
    assert list((tmp_path / "runs").iterdir()) == []


def test_folder_without_a_run_is_not_kept(tmp_path):
    with pytest.raises(ConnectionFailed, match=r"has no run\.toml"):
        fetch(tmp_path / "runs" / "first", sftp=("true",))
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("folder", ["runs/first", "/runs/a\nb"])
def test_unusual_paths_are_refused(tmp_path, folder):
    with pytest.raises(ConnectionFailed, match="cannot be copied"):
        fetch(tmp_path / "first", folder, sftp=("true",))


def test_existing_folder_is_not_replaced(tmp_path):
    with pytest.raises(ConnectionFailed, match="exists already"):
        fetch(tmp_path, sftp=("true",))


@NEEDS_SSH
@pytest.mark.thorough
@pytest.mark.parametrize("with_model", [False, True])
def test_names_are_taken_literally(tmp_path, with_model):
    ssh_server = LoopbackSsh(tmp_path / "sshd")
    folder = tmp_path / "there" / "a \"b\" [c] * ?\\ 'd' ü"
    (folder / "export").mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text(name)
    target = tmp_path / "here" / "copy"
    sftp = (str(ssh_server.bin / "sftp"), "-o", "BatchMode=yes")
    fetch(target, folder, sftp=sftp, host="loopback", with_model=with_model)
    for name in NAMES:
        assert (target / name).read_text() == name
    assert (target / "export").is_dir() == with_model
    with pytest.raises(ConnectionFailed, match="does not accept your keys"):
        fetch(tmp_path / "here" / "other", folder, sftp=sftp, host="denied")
    ssh_server.close()
