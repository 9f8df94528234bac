"""Write files and folders atomically: complete, or not at all.

    .NAME.4711-4789212-3f9a01bc-k3x1      a temporary file that becomes NAME
    .NAME.4711-4789212-3f9a01bc-partial   a temporary folder that becomes NAME
    NAME-replaced                the folder that was NAME, if it is not in the trash

The numbers name the process (`process_lock.py`). What a dead one has left is removed by
`remove_leftovers`; what another computer or container has left is not.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from send2trash import send2trash

from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.path_problems import unusable
from surgeon_engine.base.process_lock import is_left_over, process_tag
from surgeon_engine.base.sentences import say

_READABLE = 0o644  # by everybody, the usual mode of files
# Errors of disks, such as USB sticks and network drives, that lack an operation.
_UNSUPPORTED = (errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
_PREFIX, _PARTIAL = "surgeon-", "partial"
_CACHED = re.compile(r"\.?[0-9a-f]{16,64}\..+")  # a digest and an ending
_warned: set[str] = set()
_log = logging.getLogger(__name__)
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+-\d+-[0-9a-f]{8}-\w+")


def expand_path(path: str | Path) -> Path:
    """Return an absolute path without "..", with ~ replaced by the home folder.

    A path in an unknown home stays as it is, relative. Links are followed only where
    ".." comes after.
    """
    if is_in_unknown_home(path):
        return Path(path)
    found = Path(os.path.expanduser(path)).absolute()
    return Path(os.path.realpath(found)) if ".." in found.parts else found


def is_in_unknown_home(path: str | Path, base: Path = Path()) -> bool:
    """Return True if a path begins with ~NAME, which is no user and no folder."""
    first, *_ = Path(os.path.expanduser(path)).parts or ("",)
    return first.startswith("~") and not os.path.lexists(base / first)


def nearest_existing(path: Path) -> Path:
    """Return `path` or the nearest folder above it that exists; `path` if none does."""
    paths = (path, *path.absolute().parents)
    return next((each for each in paths if os.path.exists(each)), path)


def free_bytes(path: Path) -> int:
    """Return the free space of the disk that holds, or will hold, `path`.

    Raises:
        OSError: The disk cannot be read.
    """
    return shutil.disk_usage(nearest_existing(path)).free


def size_of_folder(path: Path) -> int:
    """Return the bytes of all files in a folder; 0 if there is none.

    Links count nothing: the caches of the Hub link to files that they hold once.
    """
    found = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):  # it was deleted meanwhile
                facts = Path(folder, name).lstat()
                found += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return found


def own_samples_folder() -> Path:
    """Return the folder that keeps the texts that models have written."""
    return platformdirs.user_cache_path("surgeon") / "own_samples"


def measurements_folder() -> Path:
    """Return the folder that keeps measurements of original models."""
    return platformdirs.user_cache_path("surgeon") / "measurements"


def delete_cache(folder: Path) -> None:
    """Delete what Surgeon keeps in one of these folders, and nothing else in it.

    Raises:
        OSError: The folder is a link, or a file cannot be deleted.
    """
    if folder.is_symlink():
        raise OSError(errno.ELOOP, f"{folder} is a link")
    for path in folder.iterdir():
        if _CACHED.fullmatch(path.name):
            path.unlink()
    with suppress(OSError):  # it holds something else
        folder.rmdir()


def check_not_occupied(path: Path, error: type[EngineError]) -> None:
    """Raise `error` if there is anything but an empty folder at `path`."""
    try:
        obstacle = _obstacle(path)
    except OSError as failure:
        raise error(unusable(path, failure), say("Choose another folder.")) from failure
    if obstacle:
        found = error(
            obstacle,
            say(
                "Choose a folder that does not exist yet. Nothing is overwritten "
                "unasked."
            ),
        )
        found.is_occupied = True
        raise found


def check_exists(path: Path, error: type[EngineError]) -> None:
    """Raise `error` if there is nothing at `path`."""
    if not os.path.lexists(path):
        missing = say("There is nothing at {path}.", path=path)
        raise error(missing, say("Check its name."))


def _obstacle(path: Path) -> str:
    """Return what is at a path; empty for nothing and for an empty folder."""
    if path.is_dir():
        is_empty = not any(path.iterdir())
        full = say("{path} exists already (folder is not empty).", path=path)
        return "" if is_empty else full
    if path.exists():
        return say("{path} exists already (is a file).", path=path)
    link = say("{path} exists already (is a link).", path=path)
    return link if path.is_symlink() else ""


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write all of `data` to `path`, or leave the path unchanged."""
    with file_written_atomically(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def file_written_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary file that is renamed to `path` when the block succeeds."""
    prefix = f".{path.name}.{process_tag()}-"
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=prefix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        _make_readable(temporary)  # mkstemp lets only the owner read
        _flush_to_disk(temporary)
        temporary.replace(path)
        _flush_to_disk(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def write_folder_atomically(path: Path, aside: Path | None = None) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `path` when the block succeeds.

    If the block raises, the temporary folder is deleted. What is at `path` is renamed
    to `aside`, if that is given, once the new folder is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    temporary = partial_path(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                _make_readable(file)  # safetensors lets only the owner read
            _flush_to_disk(file)
        _flush_to_disk(temporary)
        _take_place(temporary, path, aside)
        _flush_to_disk(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def numbered_names(name: str) -> Iterator[str]:
    """Yield name, name-2, name-3 and so on."""
    yield name
    for number in itertools.count(2):
        yield f"{name}-{number}"


def free_path(path: Path) -> Path:
    """Return a path at which there is nothing, with a number if needed."""
    paths = map(path.with_name, numbered_names(path.name))
    return next(each for each in paths if not os.path.lexists(each))


def name_beside(path: Path) -> Path:
    """Return a free path beside `path` for what is there now."""
    return free_path(path.with_name(f"{path.name}-replaced"))


def to_trash(path: Path) -> bool:
    """Move a file or folder to the trash; return False where there is none."""
    try:
        send2trash(path)
    except OSError as error:
        _log.warning("%s cannot be moved to the trash: %s.", path, error)
        return False
    return True


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove temporary files and folders of dead processes.

    Files of processes that cannot be seen from here stay: these may be alive. The
    folder need not exist. `name` is the file or folder that they would have become;
    empty: any.
    """
    for path in _hidden(folder):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or name not in ("", match["name"]):
            continue
        if not is_left_over(path.name):
            continue
        _delete(path)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder; if the process is killed, the next one removes it."""
    return tempfile.TemporaryDirectory(
        prefix=f"{_PREFIX}{process_tag()}-", ignore_cleanup_errors=True
    )


def remove_temporary_folders() -> None:
    """Remove the temporary folders of dead processes."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if is_left_over(path.name):
            _delete(path)


def partial_path(path: Path) -> Path:
    """Return the path of the temporary folder that will become `path`."""
    return path.with_name(f".{path.name}.{process_tag()}-{_PARTIAL}")


def _hidden(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.name.startswith(".")]
    except OSError:
        return []


def _delete(path: Path) -> None:
    """Delete a file or a folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _take_place(new: Path, path: Path, aside: Path | None) -> None:
    """Rename `new` to `path`; what is there is renamed to `aside` before."""
    if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
        path.rmdir()
    if aside is None or not os.path.lexists(path):
        new.rename(path)
        return
    path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        aside.rename(path)
        raise


def _make_readable(path: Path) -> None:
    """Let everybody read a file, where the disk knows rights."""
    try:
        path.chmod(_READABLE)
    except OSError as error:
        _do_without("the rights of files", error)


def _flush_to_disk(path: Path) -> None:
    """Flush a file or a folder to the disk, where it can be."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        _do_without("flushing", error)
    finally:
        os.close(descriptor)


def _do_without(what: str, error: OSError) -> None:
    """Go on without an operation that a disk, such as a USB stick, does not support."""
    if error.errno not in _UNSUPPORTED:
        raise error
    if what not in _warned:
        _warned.add(what)
        _log.warning("The disk does not support %s: %s.", what, error.strerror)
