"""Copies of runs from another computer: complete, or nothing."""

import shutil

import pytest

from surgeon_engine.api import fetch as fetch_module
from surgeon_engine.api.fetch import FetchCancelled, fetch_run
from surgeon_engine.api.messages.files import RunEntry, RunOutcome
from surgeon_engine.base.ssh import Computer, ConnectionFailed
from tests.helpers.loopback_ssh import NEEDS_SSH, LoopbackSsh

pytestmark = pytest.mark.waits

SLEEPING = ("sh", "-c", "exec sleep 60")
NAMES = ("run.toml", "events.jsonl", "report.json")


def fetch(
    target, folder="/runs/first", *, sftp, with_model=False, size=1_000_000, **extra
):
    computer = Computer(extra.pop("host", "box"))
    more = {"progress": lambda _: None, "with_model": with_model, "sftp": sftp}
    run = RunEntry(str(folder), "first", RunOutcome.FINISHED, 0.0, size, 0)
    fetch_run(computer, run, target, **more | extra)


def test_cancelled_copy_leaves_nothing(tmp_path):
    def cancel(_):
        raise FetchCancelled

    with pytest.raises(FetchCancelled):
        fetch(tmp_path / "runs" / "first", sftp=SLEEPING, progress=cancel)
    assert list((tmp_path / "runs").iterdir()) == []


def test_failed_copy_leaves_nothing_and_says_why(tmp_path):
    path = "/long" * 20
    why = f'write local "{path}": No space left on device'
    lines = f"{why}\nDownload of file {path} to {path} failed"
    failing = ("sh", "-c", f"echo '{lines}' >&2; exit 1")
    with pytest.raises(ConnectionFailed, match="box: No space left on device"):
        fetch(tmp_path / "runs" / "first", sftp=failing)
    assert list((tmp_path / "runs").iterdir()) == []


def test_run_that_is_larger_than_the_disk_is_not_copied(tmp_path):
    with pytest.raises(ConnectionFailed, match=r"takes 9,000,000\.00 GB, and"):
        fetch(tmp_path / "runs" / "first", sftp=("true",), size=9 * 10**15)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "script", ["true", """echo 'File "/x/run.toml" not found.' >&2; exit 1"""]
)
def test_folder_without_a_run_is_not_kept(tmp_path, script):
    with pytest.raises(ConnectionFailed, match=r"has no run\.toml"):
        fetch(tmp_path / "runs" / "first", sftp=("sh", "-c", script))
    assert list((tmp_path / "runs").iterdir()) == []


def writing(script):
    """Return an sftp that runs a script in the folder in which the run arrives."""
    there = "cd .*/.arrived; touch run.toml events.jsonl"
    return ("sh", "-c", f"{there}; {script}")


@pytest.mark.parametrize(
    "script",
    [
        "ln -sf /etc/passwd run.toml",
        "ln -s / export",
        "mkfifo pipe",
        "touch \"$(printf 'a\\033[31m')\"",
        "mkdir \"$(printf '\\377')\"",
        "truncate -s 20M events.jsonl",
        "mkdir many; cd many; touch $(seq 20)",
        "head -c 20000000 /dev/zero > big; sleep 60",
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx >&2; done",
    ],
)
def test_strange_files_of_a_run_are_not_kept(tmp_path, monkeypatch, script):
    monkeypatch.setattr(fetch_module, "_MAX_FILES", 20)
    monkeypatch.setattr(fetch_module, "_MAX_STDERR_BYTES", 10_000)
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path / "runs")
    fetch(tmp_path / "runs" / "usual", sftp=writing("true"))
    shutil.rmtree(tmp_path / "runs" / "usual")
    with pytest.raises(ConnectionFailed):
        fetch(tmp_path / "runs" / "first", sftp=writing(script))
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    "folder",
    ["runs/first", "/runs/a\nb", "/runs/..", "/runs/../first", "/", "/runs/.first", ""],
)
def test_unusual_paths_are_refused(tmp_path, folder):
    with pytest.raises(ConnectionFailed, match="cannot be copied"):
        fetch(tmp_path / "first", folder, sftp=("true",))


def test_existing_folder_is_not_replaced(tmp_path):
    with pytest.raises(ConnectionFailed, match="exists already"):
        fetch(tmp_path, sftp=("true",))


@pytest.mark.slow
@NEEDS_SSH
def test_names_are_taken_literally(tmp_path):
    ssh_server = LoopbackSsh(tmp_path / "sshd")
    folder = tmp_path / "there" / "a \"b\" [c] * ?\\ 'd' ü"
    (folder / "export").mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text(name)
    target = tmp_path / "here" / "copy"
    sftp = (str(ssh_server.bin / "sftp"), "-o", "BatchMode=yes")
    fetch(target, folder, sftp=sftp, host="loopback", with_model=True)
    for name in NAMES:
        assert (target / name).read_text() == name
    assert (target / "export").is_dir()
    (folder / "events.jsonl").write_text("more than a full disk takes" * 1_000)
    full = ("sh", "-c", 'trap "" XFSZ; ulimit -f 20; exec "$@"', "sh", *sftp)
    with pytest.raises(ConnectionFailed, match="File too large"):
        fetch(target.with_name("full"), folder, sftp=full, host="loopback")
    assert not target.with_name("full").exists()
    with pytest.raises(ConnectionFailed, match="does not accept your keys"):
        fetch(tmp_path / "here" / "other", folder, sftp=sftp, host="denied")
    ssh_server.close()
