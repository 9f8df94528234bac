"""Files and folders that appear complete under their final name, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surgeon_engine.api.errors import EngineError

_READABLE = 0o644  # by everybody, as files usually are


def expanded(path: str) -> Path:
    """A path as a person gives it."""
    return Path(os.path.expanduser(path)).absolute()


def free_bytes(path: Path) -> int:
    """How much room the disk has on which `path` is, or is to be.

    Raises:
        OSError: that cannot be seen.
    """
    there = next(p for p in (path, *path.absolute().parents) if os.path.exists(p))
    return shutil.disk_usage(there).free


def check_not_occupied(path: Path, error: type[EngineError]) -> None:
    """Raise `error` if there is a file, or a folder with something in it, at `path`."""
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
    """Put `data` at `path`: all of it or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_READABLE)  # mkstemp makes files for their owner alone
        Path(temporary).replace(path)
        _flush_to_disk(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def folder_appearing_at(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill; once the block is left it stands at `path`, complete.

    If the block raises, nothing is left at all. If the process is killed, what is left
    has a hidden name, and goes when the same folder is written again. What stood at
    `path` before stays, if it is to be replaced, until the new one is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    finish_swap(path)
    temporary = partial(path)
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                file.chmod(_READABLE)  # safetensors writes for the owner alone
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
    """Put back what stood at `path`, if a process was killed between two renames."""
    if _aside(path).exists() and not path.exists():
        _aside(path).rename(path)


def partial(path: Path) -> Path:
    """Where what is to appear at `path` is until it is complete."""
    return path.with_name(f".{path.name}.partial")


def _aside(path: Path) -> Path:
    """Where what stood at `path` is while another takes its place."""
    return path.with_name(f".{path.name}.old")


def _swap(new: Path, path: Path) -> None:
    """Put `new` in the place of the folder at `path`, which goes."""
    old = _aside(path)
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
