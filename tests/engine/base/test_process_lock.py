"""One process has a lock, and locks of other computers are left alone."""

import errno
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from surgeon_engine.base import process_lock
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.process_lock import (
    LockedError,
    ProcessLock,
    end_lock,
    is_left_over,
    last_holder,
    process_tag,
    this_process,
    use_of,
)
from tests.helpers.locks import ELSEWHERE, write_lock

fcntl = pytest.importorskip("fcntl")
HOLD = """
import sys, os, time
from pathlib import Path
from surgeon_engine.base.process_lock import ProcessLock
ProcessLock(Path(sys.argv[1])).acquire()
parent = os.getpid()
if sys.argv[2] == "fork" and os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.001)
    print("alone", flush=True)
    input()  # longer than its parent
elif sys.argv[2] == "fork":
    os._exit(0)
else:
    print(os.getpid(), flush=True)
    if sys.argv[2] == "wait":
        input()
    os._exit(0)
"""


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(process_lock, "_WAIT_S", 0.2)
    return tmp_path / "process.json"


def hold(path: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(path), how]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_lock_has_one_holder(path):
    first, second = ProcessLock(path), ProcessLock(path)
    assert use_of(path) is None
    first.acquire()
    assert first.is_held
    use = use_of(path)
    assert use is not None and not use.is_elsewhere
    assert use.holder is not None and use.holder.pid == os.getpid()
    with pytest.raises(LockedError):
        second.acquire()
    second.release()
    assert path.exists()
    first.release()
    assert use_of(path) is None
    assert not path.exists()
    second.acquire()
    second.release()


def test_lock_of_a_killed_process_is_free(path):
    with hold(path, "wait") as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        use = use_of(path)
        assert use is not None and use.holder is not None and use.holder.pid == pid
        with pytest.raises(LockedError):
            ProcessLock(path).acquire()
        process.kill()
    assert path.exists()
    assert use_of(path) is None
    lock = ProcessLock(path)
    lock.acquire()
    lock.release()


def test_forked_child_does_not_keep_the_lock(path):
    with hold(path, "fork") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert use_of(path) is None
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize(
    ("changes", "is_elsewhere"),
    [
        (ELSEWHERE, True),
        ({"machine": "another", "boot": "another"}, True),
        ({"computer": "atlas", "boot": "another"}, True),
        ({"machine": "", "boot": "another"}, True),
        ({"boot": "another"}, False),  # this computer has started again
        ({"computer": "c0ffee", "machine": ""}, False),  # a container on this kernel
        ({"pid": 1}, False),
        ({"namespace": "4026532000", "pid": os.getpid()}, False),
    ],
)
def test_only_locks_of_other_computers_count_without_a_process(
    path, changes, is_elsewhere
):
    holder = write_lock(path, **changes)
    use = use_of(path)
    assert (use is not None) == is_elsewhere
    lock = ProcessLock(path)
    if not is_elsewhere:
        lock.acquire()
        lock.release()
        return
    with pytest.raises(LockedError) as caught:
        lock.acquire()
    assert caught.value.use == use == (holder, True)
    assert last_holder(path) == holder
    end_lock(path)
    assert use_of(path) is None
    lock.acquire()
    lock.release()


def test_nobody_ends_a_lock_that_is_held(path):
    lock = ProcessLock(path)
    lock.acquire()
    with pytest.raises(LockedError):
        end_lock(path)
    assert use_of(path) is not None
    lock.release()


@pytest.mark.parametrize("content", [b"", b"\0" * 300])
def test_empty_lock_is_free_after_a_moment(path, content):
    path.write_bytes(content)  # as after a loss of power
    lock = ProcessLock(path)
    lock.acquire()
    assert last_holder(path) is not None
    lock.release()


@pytest.mark.parametrize("content", [b"mine", b"{}", b'{"pid": 4711}', b"[" * 5000])
def test_file_that_is_no_lock_stays(path, content):
    path.write_bytes(content)
    assert use_of(path) is None
    with pytest.raises(UnreadableFileError, match="does not say"):
        ProcessLock(path).acquire()
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["pipe", "device", "link", "folder", "broken"])
def test_special_file_is_no_lock(path, kind):
    other = path.with_name("thesis.tex")
    other.write_text("mine")
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "link":
            path.symlink_to(other)
        case "broken":
            path.symlink_to(path.with_name("missing"))
        case "folder":
            path.mkdir()
    assert use_of(path) is None
    with pytest.raises((UnreadableFileError, OSError)):
        ProcessLock(path).acquire()
    assert other.read_text() == "mine"
    assert not path.with_name("missing").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_disk_without_locks_raises(path, monkeypatch, number):
    def fail(*_: object, **__: object) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(process_lock, "lock_descriptor", fail)
    with pytest.raises(UnreadableFileError, match="cannot be locked") as caught:
        ProcessLock(path).acquire()
    assert "disk" in caught.value.hint


def test_who_looks_does_not_take_the_lock_away(path):
    write_lock(path, pid=1)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as `use_of` does for a moment
        assert use_of(path) is None
        timer = threading.Timer(0.05, fcntl.flock, (file, fcntl.LOCK_UN))
        timer.start()
        lock = ProcessLock(path)
        lock.acquire()
        timer.join()
    lock.release()


def test_threads_that_look_and_take_it_agree(path):
    """One thread at a time has the lock, and a thread that looks never keeps it."""
    inside, seen = [], []

    def work() -> None:
        for _ in range(5):
            with suppress(LockedError):
                lock = ProcessLock(path)
                lock.acquire()
                inside.append(1)
                seen.append(len(inside))
                inside.pop()
                lock.release()
            use_of(path)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen and set(seen) == {1}
    assert not path.exists()


@pytest.mark.parametrize(
    "changes",
    [{"namespace": "4026532000"}, {"computer": "atlas"}, {"machine": "another"}],
)
def test_only_litter_of_this_computer_and_namespace_is_left_over(monkeypatch, changes):
    here = process_lock._place()
    number = process_tag().rpartition("-")[2]
    dead = f".x.4194999-1700000000-{number}-partial"
    assert is_left_over(dead)
    assert not is_left_over(f".x.{process_tag()}-partial")
    monkeypatch.setattr(process_lock, "_place", lambda: replace(here, **changes))
    assert not is_left_over(dead)
    assert not is_left_over(f".x.{process_tag()}-partial")


def test_litter_from_before_a_start_of_the_computer_is_left_over(monkeypatch):
    here = replace(process_lock._place(), namespace="4026531836")
    monkeypatch.setattr(process_lock, "_place", lambda: here)
    number = process_tag().rpartition("-")[2]
    again = replace(here, boot="another")
    monkeypatch.setattr(process_lock, "_place", lambda: again)
    assert is_left_over(f".x.4194999-1700000000-{number}-partial")


@pytest.mark.skipif(sys.platform != "linux", reason="simulates a clock of Linux")
def test_step_of_the_clock_ends_no_process(monkeypatch):
    tag, holder = process_tag(), this_process()
    kernel_start = psutil.boot_time() + 60
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: kernel_start)
    assert not is_left_over(f".x.{tag}-partial")
    assert holder.is_alive_here
    pid, created, place = tag.split("-")
    assert is_left_over(f".x.{pid}-{int(created) + 1}-{place}-partial")  # used again
