"""Where an export goes: what is refused, and how it appears there complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from surgeon_engine.errors import ExportError
from surgeon_engine.run_folder import (
    RunFolder,
    folder_appearing_at,
    partial,
    refuse_occupied,
)


def check_destination(destination: Path, run: RunFolder, *, replace: bool) -> None:
    """Refuse a destination that could not be written to in the end.

    Raises:
        ExportError: there is something in it that may not be replaced, its parent is
            not writable, or the run keeps its own files there.
    """
    if not replace:
        refuse_occupied(destination, ExportError)
    elif destination.is_file():
        raise ExportError(f"{destination} is a file.", "Choose a folder.")
    own = run.path.absolute()
    is_inside = destination.is_relative_to(own) and destination.parent != own
    if own.is_relative_to(destination) or is_inside or destination in run.own_paths:
        raise ExportError(
            f"{destination} is where the run itself keeps its files.",
            "Choose another folder, or leave the destination empty.",
        )
    try:
        trial = partial(_ancestor(destination) / destination.name)
        trial.mkdir(exist_ok=True)
        shutil.rmtree(trial)
    except OSError as error:
        raise unwritable(destination, error) from error


def check_room(destination: Path, needed: int) -> None:
    """Refuse a disk on which there is no room for `needed` bytes.

    Raises:
        ExportError: there is not; with the numbers.
    """
    free = shutil.disk_usage(_ancestor(destination)).free
    if free < needed:
        raise ExportError(
            f"The checkpoint needs {_size(needed)}, but the disk of {destination} has "
            f"{_size(free)} free.",
            "Make room, or choose a folder on another disk.",
        )


@contextmanager
def checkpoint_at(destination: Path, *, replace: bool) -> Iterator[Path]:
    """A folder to fill with a checkpoint; nothing is left if that fails.

    What is to be replaced stays until the new one is complete.

    Raises:
        ExportError: there is something at the destination, or it cannot be written.
    """
    if not replace:
        refuse_occupied(destination, ExportError)
    try:
        with folder_appearing_at(destination, replace=replace) as folder:
            yield folder
    except (OSError, SafetensorError) as error:
        raise unwritable(destination, error) from error


def expanded(folder: str) -> Path:
    """A folder as a person names it, as a path."""
    return Path(os.path.expanduser(folder)).absolute()


def unwritable(destination: Path, error: Exception) -> ExportError:
    """What to tell when the disk says no."""
    reason = getattr(error, "strerror", None) or error
    return ExportError(
        f"{destination} cannot be written: {reason}.",
        "Choose a folder that you may write to, on a disk with room for the model.",
    )


def _ancestor(destination: Path) -> Path:
    """The nearest folder above `destination` that exists."""
    return next(path for path in destination.parents if os.path.exists(path))


def _size(count: int) -> str:
    if count < 1e8:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1e9:.1f} GB"
