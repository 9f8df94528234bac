"""The lock of a folder: a file in it that the process at work keeps locked.

    process.json                            {"computer": "atlas", "pid": 4711, ...}
    .report.json.4711-4789212-3f9a01bc-k3x1 a temporary file of the same process

The system's lock (flock) ends with its process, and holds between all processes below
one kernel, also in containers. On a network disk another computer may not see it.
The file therefore names its holder, and one on another computer counts as alive until
a person says otherwise.

Process IDs count within one PID namespace, and the system uses them again. The name of
a temporary file therefore says when its process was created, too, and has a digest of
the computer and the namespace. On Linux, a step of the clock does not change it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
import time
import uuid
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import Annotated, NamedTuple

import msgspec
import psutil
from filelock import lock_descriptor
from msgspec.structs import replace

from surgeon_engine.base.decoding import decode_json, encode_json
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.reading import SAFE_TO_WRITE, open_own, open_regular, read_json
from surgeon_engine.base.sentences import say

if sys.platform != "win32":
    import fcntl

# How long to wait for a process that only looks at a lock, or cleans up below it.
_WAIT_S, _POLL_INTERVAL_S = 2.0, 0.01
_RECORD_BYTES = 4_096
_DELETE = say("If no process works there, delete it.")
_INITIAL_NAMESPACE = "4026531836"  # PID namespace outside of containers
_TAG = re.compile(r"[.-](\d{1,10})-(\d{1,11})-([0-9a-f]{8})[.-]")
_Text = Annotated[str, msgspec.Meta(max_length=255)]
_Time = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


class Holder(msgspec.Struct, frozen=True):
    """The process that holds a lock."""

    computer: _Text  # its name
    machine: _Text  # ID of the computer; empty: it has none
    boot: _Text  # ID of the kernel since it started; empty: unknown
    namespace: _Text  # PID namespace of the process; empty: the system has none
    pid: Annotated[int, msgspec.Meta(ge=0, le=2**32)]
    created: _Time  # start of the process, as `_created` counts
    since: _Time  # when it took the lock, in seconds since the epoch

    @property
    def is_elsewhere(self) -> bool:
        """True if it is on another computer, whose locks this one may not see."""
        here = this_process()
        is_same_kernel = self.boot == here.boot != ""
        is_same_computer = self.machine == here.machine != ""
        return not is_same_kernel and not (
            is_same_computer and self.computer == here.computer
        )

    @property
    def is_alive_here(self) -> bool:
        """True if it is a living process of this PID namespace."""
        here = this_process()
        places = [(x.computer, x.boot, x.namespace) for x in (self, here)]
        return places[0] == places[1] and _is_alive(self.pid, self.created)

    @property
    def start(self) -> str:
        """When it took the lock, such as "2026-11-28 12:40"."""
        return f"{datetime.fromtimestamp(self.since):%Y-%m-%d %H:%M}"


class Use(NamedTuple):
    """The use of a lock by a process."""

    holder: Holder | None  # None: it does not say who it is
    is_elsewhere: bool  # it may have ended: its lock is not visible from here


class LockedError(Exception):
    """Another process holds the lock."""

    def __init__(self, use: Use) -> None:
        super().__init__(str(use))
        self.use = use


class ProcessLock:
    """The lock at `path`, for this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """True if this object has the lock."""
        return self._descriptor in _held

    def acquire(self) -> None:
        """Take the lock, and write into its file who has it.

        Raises:
            LockedError: Another process has it.
            UnreadableFileError: The file is a pipe, a device, a link or a folder, or
                no lock; or its disk has no locks.
            OSError: The file cannot be written.
        """
        descriptor = _locked(self.path)
        try:
            holder = _read_holder(descriptor)
            if holder is None and not _is_blank(descriptor):
                raise UnreadableFileError(
                    "{path} does not say which process works there.",
                    _DELETE,
                    path=self.path,
                )
            if holder is not None and holder.is_elsewhere:
                raise LockedError(Use(holder, is_elsewhere=True))
            _write(descriptor, encode_json(this_process()))
        except BaseException:
            _close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back, and remove its file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor not in _held:  # not acquired, or by a parent of this process
            return
        with suppress(OSError):
            if _is_at(descriptor, self.path):
                self.path.unlink()
        _close(descriptor)


def end_lock(path: Path) -> None:
    """Remove a lock whose holder has ended, as a person says.

    Only a person can know whether a holder on another computer has ended.

    Raises:
        LockedError: A process that can be seen from here has it.
        UnreadableFileError: See `ProcessLock.acquire`.
        OSError: The file cannot be removed.
    """
    descriptor = _locked(path)
    try:
        path.unlink()
    finally:
        _close(descriptor)


def use_of(path: Path) -> Use | None:
    """Return the use of the lock at `path`; None: no process has it.

    This never keeps a process from taking the lock for more than a moment.
    """
    try:
        descriptor = open_regular(path)
    except UnreadableFileError:
        return None
    try:
        is_free = _is_free(descriptor)
        holder = _read_holder(descriptor)
    finally:
        os.close(descriptor)
    if not is_free:
        return Use(holder, is_elsewhere=False)
    if holder is not None and holder.is_elsewhere:
        return Use(holder, is_elsewhere=True)
    return None


def last_holder(path: Path) -> Holder | None:
    """Return the process that has or had the lock; None: its file names none."""
    try:
        return read_json(path, Holder, _RECORD_BYTES)
    except UnreadableFileError:
        return None


def this_process() -> Holder:
    """Return this process as the holder of a lock that it takes now."""
    pid = os.getpid()
    created, since = _own_created(pid), time.time()
    return replace(_place(), pid=pid, created=created, since=since)


def process_tag() -> str:
    """Return the name of the current process for names of temporary files."""
    return f"{os.getpid()}-{int(_own_created(os.getpid()))}-{_digest_of_place()}"


def is_left_over(name: str) -> bool:
    """Return True if `name` has the tag of a process that has ended.

    Processes of another computer or another PID namespace count as alive.
    """
    tag = _TAG.search(name)
    if tag is None or tag[3] != _digest_of_place():
        return False
    return not _is_alive(int(tag[1]), int(tag[2]))


@functools.cache
def _place() -> Holder:
    """Return what all processes of this computer and PID namespace have in common."""
    machine, boot, namespace = "", "", ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text().strip()[:99]
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    if sys.platform != "linux":
        machine = machine or f"{uuid.getnode():x}"
    if machine:  # its ID itself is not to be shown to others
        machine = hashlib.sha256(f"surgeon {machine}".encode()).hexdigest()[:32]
    return Holder(gethostname()[:255], machine, boot, namespace, 0, 0.0, 0.0)


def _digest_of_place() -> str:
    """Return a short digest of the computer or container that counts process IDs.

    On a computer it stays the same when the computer starts again.
    """
    place = _place()
    parts = (place.computer, place.machine)
    if place.namespace not in ("", _INITIAL_NAMESPACE):  # in a container
        parts = (place.boot, place.namespace)
    # "ticks": what a tag counts, so that others are not compared with it.
    return hashlib.sha256("\0".join((*parts, "ticks")).encode()).hexdigest()[:8]


def _locked(path: Path) -> int:
    """Return a descriptor of the file at `path`, which is locked by it.

    Raises:
        LockedError: Another process keeps it locked.
        UnreadableFileError: It is no regular file, or the disk has no locks.
        OSError: It cannot be opened.
    """
    deadline = time.monotonic() + _WAIT_S
    created = None
    while True:
        is_last = time.monotonic() > deadline
        descriptor, is_new = _open(path)
        found = os.fstat(descriptor)
        created = found if is_new else created
        is_own = created is not None and os.path.samestat(found, created)
        is_locked = False
        try:
            # An empty file of another process may get its holder yet, if that is on
            # another computer.
            is_settled = is_own or found.st_size > 0 or is_last
            is_locked = is_settled and _try_lock(descriptor, path, is_last)
        finally:
            if not is_locked:
                os.close(descriptor)
        if is_locked:
            _held.add(descriptor)
            return descriptor
        time.sleep(_POLL_INTERVAL_S)


def _try_lock(descriptor: int, path: Path, is_last: bool) -> bool:
    """Lock a file that no process has locked; return whether it is still at `path`."""
    try:
        if lock_descriptor(descriptor, blocking=False):
            return _is_at(descriptor, path)  # whoever had it may have removed it
    except OSError as error:
        raise UnreadableFileError(
            "{path} cannot be locked: {reason:clause}.",
            "The disk may not support locks: choose a folder on another one.",
            path=path,
            reason=error.strerror,
        ) from error
    holder = _read_holder(descriptor)
    if is_last or (holder is not None and holder.is_alive_here):
        raise LockedError(Use(holder, is_elsewhere=False))
    return False


def _open(path: Path) -> tuple[int, bool]:
    """Open a lock file; return its descriptor, and whether it is new."""
    try:
        return os.open(path, SAFE_TO_WRITE | os.O_CREAT | os.O_EXCL, 0o644), True
    except FileExistsError:
        pass
    try:
        return open_own(path, 0, _DELETE), False
    except FileNotFoundError:  # removed meanwhile
        return _open(path)


def _is_free(descriptor: int) -> bool:
    """Return True if no process has locked a file.

    Processes that look share the lock, so that they do not take each other for a
    holder.
    """
    try:
        if sys.platform == "win32":
            return lock_descriptor(descriptor, blocking=False)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # locked; or the disk has no locks, and nobody can tell
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _read_holder(descriptor: int) -> Holder | None:
    """Return what a lock file says; None if it says nothing."""
    try:
        return decode_json(_content(descriptor), Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def _is_blank(descriptor: int) -> bool:
    """Return True for a file without content, as after a loss of power."""
    return not _content(descriptor).strip(b"\0")


def _content(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, _RECORD_BYTES)


def _write(descriptor: int, record: bytes) -> None:
    """Write a record; a process that is killed meanwhile leaves an empty file."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, record)
    os.fsync(descriptor)  # for other computers


# A child that is forked would keep the locks of its parent after its end.
_held: set[int] = set()


def _close(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _forget() -> None:
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@functools.cache
def _own_created(pid: int) -> float:
    return _created(psutil.Process(pid))


def _created(process: psutil.Process) -> float:
    """Return when a process was created, in seconds since the epoch.

    On Linux, return the ticks since the kernel started instead: psutil adds the time of
    that start to them, which a step of the clock moves.
    """
    if sys.platform != "linux":
        return process.create_time()
    try:
        found = Path(f"/proc/{process.pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(process.pid) from error
    # The second field, the name of the program, may contain spaces and brackets.
    return int(found.rpartition(b")")[2].split()[22 - 3])


def _is_alive(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        found = _created(process)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False  # it has ended, and nobody has asked how
    except (psutil.Error, ValueError, OverflowError):
        return False
    return abs(found - created) < 1  # names of files have no fractions
