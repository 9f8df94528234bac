"""Look up paths as users type them, without exceptions.

The methods of `Path` raise for an unknown home, a name that is too long and a folder
without permission. For the window, nothing exists at such paths.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from surgeon_engine.base.files import expand_path, nearest_existing
from surgeon_engine.base.files import free_bytes as free_bytes_at


def home() -> Path:
    """Return the home folder of the user, whether or not it exists."""
    return expand_path("~")


def with_tilde(path: Path | str) -> str:
    """Return a path with ~ in place of the home folder, as users know it."""
    try:
        return str(Path("~", Path(path).relative_to(home())))
    except ValueError:
        return str(path)


def exists(text: str) -> bool:
    """Return whether a path exists."""
    return os.path.exists(expand_path(text))


def is_file(text: str) -> bool:
    """Return whether a path is a file."""
    return os.path.isfile(expand_path(text))


def file_bytes(text: str) -> int | None:
    """Return the bytes of a file; None if a path is none."""
    try:
        return expand_path(text).stat().st_size if is_file(text) else None
    except OSError:
        return None


def is_folder(text: str) -> bool:
    """Return whether a path is a folder."""
    return os.path.isdir(expand_path(text))


def is_occupied(text: str) -> bool:
    """Return whether a path is a folder that is not empty.

    A folder that cannot be read counts as not empty.
    """
    if not text or not is_folder(text):
        return False
    try:
        return any(expand_path(text).iterdir())
    except OSError:
        return True


def unwritable_folder(text: str) -> str:
    """Return the path that prevents creating or writing a folder; empty if none.

    It is a file in the way, or a folder that cannot be written.
    """
    existing = nearest_existing(expand_path(text))
    usable = os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)
    # Folders of the system itself, such as /proc, are on a disk of no size.
    holds_files = usable and shutil.disk_usage(existing).total > 0
    return "" if holds_files else str(existing)


def free_bytes(text: str) -> int | None:
    """Return the free bytes on the disk of a path; None if unknown."""
    try:
        return free_bytes_at(expand_path(text))
    except OSError:
        return None
