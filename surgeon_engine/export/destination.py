"""Check the destination of an export and write to it atomically."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from surgeon_engine.api.errors import ExportError
from surgeon_engine.api.export_marker import write_marker
from surgeon_engine.api.files import (
    check_not_occupied,
    free_bytes,
    partial_path,
    remove_leftovers,
    write_folder_atomically,
)
from surgeon_engine.api.formatting import format_size
from surgeon_engine.api.run_folder import RunFolder

_MAX_NAME = 200  # bytes; temporary names are longer


def check_destination(
    destination: Path, run: RunFolder, protected: Iterable[Path], *, replace: bool
) -> None:
    """Check that an export may be written to `destination`.

    Args:
        destination: Folder of the export.
        run: Run whose model is exported.
        protected: Paths that must not be replaced: the original model, and the
            checkpoint from which other formats are made.
        replace: Whether the content of the folder may be replaced.

    Raises:
        ExportError: The folder holds files that must not be replaced, its parent is not
            writable, or the run keeps its own files there.
    """
    if not destination.name:
        raise ExportError(
            f"{destination} is the root of a disk.", "Choose a folder on it."
        )
    if (length := len(os.fsencode(destination.name))) > _MAX_NAME:
        raise ExportError(
            f"The name of the export folder has {length:,} bytes; at most {_MAX_NAME} "
            "are possible.",
            "Choose a shorter name.",
        )
    remove_leftovers(destination.parent, destination.name)
    if not replace:
        check_not_occupied(destination, ExportError)
    elif destination.is_symlink() or destination.is_file():
        raise ExportError(f"{destination} is not a folder.", "Choose a folder.")
    target, run_path = destination.resolve(), run.path.resolve()
    is_nested = target.is_relative_to(run_path) and target.parent != run_path
    own_paths = {path.resolve() for path in run.own_paths}
    if run_path.is_relative_to(target) or is_nested or target in own_paths:
        raise ExportError(
            f"{destination} is where the run itself keeps its files.",
            "Choose another folder, or leave the destination empty.",
        )
    for path in (*protected, Path.cwd(), Path(os.path.expanduser("~"))):
        if replace and path.resolve().is_relative_to(target):
            raise ExportError(
                f"{destination} contains {path}, which must not be replaced.",
                "Choose another folder.",
            )
    try:
        trial = partial_path(_existing_parent(destination) / destination.name)
        if not trial.exists():
            trial.mkdir()
            trial.rmdir()
    except OSError as error:
        raise _unwritable(destination, error) from error


def check_disk_space(destination: Path, needed: int) -> None:
    """Check that the disk of `destination` has `needed` bytes free.

    Raises:
        ExportError: The disk has less.
    """
    free = free_bytes(destination)
    if free < needed:
        raise ExportError(
            f"The checkpoint needs {format_size(needed)}, but the disk of "
            f"{destination} has {format_size(free)} free.",
            "Free some space, or choose a folder on another disk.",
        )


@contextmanager
def write_checkpoint_at(destination: Path, *, replace: bool) -> Iterator[Path]:
    """Yield a temporary folder that becomes `destination` when the block succeeds.

    A folder to be replaced is kept until the new one is complete.

    Raises:
        ExportError: The destination is occupied or cannot be written.
    """
    if not replace:
        check_not_occupied(destination, ExportError)
    try:
        with write_folder_atomically(destination, replace=replace) as folder:
            yield folder
            write_marker(folder)
    except (OSError, SafetensorError) as error:
        raise _unwritable(destination, error) from error


def _unwritable(destination: Path, error: Exception) -> ExportError:
    reason = getattr(error, "strerror", None) or error
    return ExportError(
        f"{destination} cannot be written: {reason}.",
        "Choose a folder that you may write to, on a disk with space for the model.",
    )


def _existing_parent(destination: Path) -> Path:
    """Return the nearest existing folder above `destination`."""
    return next(path for path in destination.parents if os.path.exists(path))
