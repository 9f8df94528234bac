"""Write files and folders atomically: complete, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surgeon_engine.api.errors import EngineError

_READABLE = 0o644  # by everybody, the usual mode of files


def expand_path(path: str) -> Path:
    """Return an absolute path, with ~ replaced by the home folder."""
    return Path(os.path.expanduser(path)).absolute()


def free_bytes(path: Path) -> int:
    """Return the free space of the disk that holds, or will hold, `path`.

    Raises:
        OSError: The disk cannot be read.
    """
    paths = (path, *path.absolute().parents)
    existing = next(each for each in paths if os.path.exists(each))
    return shutil.disk_usage(existing).free


def check_not_occupied(path: Path, error: type[EngineError]) -> None:
    """Raise `error` if a file or a folder that is not empty exists at `path`."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        kind = "folder is not empty" if path.is_dir() else "is a file"
        raise error(
            f"{path} exists already ({kind}).",
            "Choose a folder that does not exist yet. Nothing is overwritten unasked; "
            "an export replaces another with --replace, or Replace in the window.",
        )


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write all of `data` to `path`, or leave the path unchanged."""
    with file_written_atomically(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def file_written_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary file that is renamed to `path` when the block succeeds."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(_READABLE)  # mkstemp lets only the owner read
        _flush_to_disk(temporary)
        temporary.replace(path)
        _flush_to_disk(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def write_folder_atomically(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `path` when the block succeeds.

    If the block raises, the temporary folder is deleted. If the process is killed, it
    remains under a hidden name and is deleted when the same path is written again. With
    `replace`, a folder at `path` is kept until the new one is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    finish_swap(path)
    temporary = partial_path(path)
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                file.chmod(_READABLE)  # safetensors lets only the owner read
            _flush_to_disk(file)
        _flush_to_disk(temporary)
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        if replace and path.is_dir():
            _swap(temporary, path)
        else:
            temporary.rename(path)
        _flush_to_disk(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def finish_swap(path: Path) -> None:
    """Restore the old folder at `path` if a process was killed during a swap."""
    if _backup_path(path).exists() and not path.exists():
        _backup_path(path).rename(path)


def partial_path(path: Path) -> Path:
    """Return the path of the temporary folder that will become `path`."""
    return path.with_name(f".{path.name}.partial")


def _backup_path(path: Path) -> Path:
    """Return the path of the old folder during a swap."""
    return path.with_name(f".{path.name}.old")


def _swap(new: Path, path: Path) -> None:
    """Replace the folder at `path` by `new`."""
    old = _backup_path(path)
    shutil.rmtree(old, ignore_errors=True)
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
