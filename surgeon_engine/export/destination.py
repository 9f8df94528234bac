"""Where an export goes: what is refused, and how it appears there complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from surgeon_engine.api.errors import ExportError
from surgeon_engine.api.files import (
    check_not_occupied,
    finish_swap,
    folder_appearing_at,
    free_bytes,
    partial,
)
from surgeon_engine.api.formatting import format_size
from surgeon_engine.api.run_folder import RunFolder


def check_destination(
    destination: Path, run: RunFolder, precious: Iterable[Path], *, replace: bool
) -> None:
    """Refuse a destination that could not, or must not, be written to in the end.

    `precious` are folders of which nothing may be replaced: the original model, the
    checkpoint of which others are made.

    Raises:
        ExportError: there is something in it that may not be replaced, its parent is
            not writable, or the run keeps its own files there.
    """
    finish_swap(destination)
    if not replace:
        check_not_occupied(destination, ExportError)
    elif destination.is_symlink() or destination.is_file():
        raise ExportError(f"{destination} is no folder.", "Choose a folder.")
    there, own = destination.resolve(), run.path.resolve()
    is_inside = there.is_relative_to(own) and there.parent != own
    own_paths = {path.resolve() for path in run.own_paths}
    if own.is_relative_to(there) or is_inside or there in own_paths:
        raise ExportError(
            f"{destination} is where the run itself keeps its files.",
            "Choose another folder, or leave the destination empty.",
        )
    for path in (*precious, Path.cwd(), Path(os.path.expanduser("~"))):
        if replace and path.resolve().is_relative_to(there):
            raise ExportError(
                f"{destination} holds {path}, which is not to be replaced.",
                "Choose another folder.",
            )
    try:
        trial = partial(_ancestor(destination) / destination.name)
        if not trial.exists():
            trial.mkdir()
            trial.rmdir()
    except OSError as error:
        raise unwritable(destination, error) from error


def check_room(destination: Path, needed: int) -> None:
    """Refuse a disk on which there is no room for `needed` bytes.

    Raises:
        ExportError: there is not; with the numbers.
    """
    free = free_bytes(destination)
    if free < needed:
        raise ExportError(
            f"The checkpoint needs {format_size(needed)}, but the disk of "
            f"{destination} has {format_size(free)} free.",
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
        check_not_occupied(destination, ExportError)
    try:
        with folder_appearing_at(destination, replace=replace) as folder:
            yield folder
    except (OSError, SafetensorError) as error:
        raise unwritable(destination, error) from error


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
