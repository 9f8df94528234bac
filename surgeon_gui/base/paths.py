"""Paths as users type them, looked up without an exception.

The methods of `Path` raise for a home that does not exist, for a name that is too long
and for a folder that may not be looked into. To the window all of these are just paths
at which there is nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from surgeon_engine.api.files import free_bytes as free_bytes_at


def expanded(text: str) -> Path:
    """The absolute path that `text` names; the home of nobody stays as it is."""
    return Path(os.path.normpath(Path(os.path.expanduser(text)).absolute()))


def home() -> Path:
    """The folder of the user; where there is none, a path at which there is nothing."""
    return expanded("~")


def exists(text: str) -> bool:
    """Whether there is anything at a path, as far as can be seen."""
    return os.path.exists(expanded(text))


def is_file(text: str) -> bool:
    """Whether there is a file at a path, as far as can be seen."""
    return os.path.isfile(expanded(text))


def is_empty_file(text: str) -> bool:
    """Whether there is a file without anything in it, as far as can be seen."""
    return is_file(text) and expanded(text).stat().st_size == 0


def is_folder(text: str) -> bool:
    """Whether there is a folder at a path, as far as can be seen."""
    return os.path.isdir(expanded(text))


def is_occupied(text: str) -> bool:
    """Whether there is a folder at a path with something in it, as far as can be seen.

    One that may not be looked into counts: there may be something in it.
    """
    if not text or not is_folder(text):
        return False
    try:
        return any(expanded(text).iterdir())
    except OSError:
        return True


def free_bytes(text: str) -> int | None:
    """How much room the disk of a path has; None: that cannot be seen."""
    try:
        return free_bytes_at(expanded(text))
    except OSError:
        return None
