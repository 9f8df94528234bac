"""Check the destination of an export and write to it atomically.

Only an export that is exactly as Surgeon wrote it is replaced, and only if a person has
allowed that. It goes to the trash; where there is none, it is kept beside the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from surgeon_engine.api.export_marker import check_own, trash_export, write_marker
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import ExportError
from surgeon_engine.base.files import (
    check_not_occupied,
    free_bytes,
    name_beside,
    nearest_existing,
    partial_path,
    remove_leftovers,
    write_folder_atomically,
)
from surgeon_engine.base.path_problems import unwritable
from surgeon_engine.runtime.run_context import RunContext

_MAX_NAME = 200  # bytes; temporary names are longer


def check_destination(
    destination: Path,
    run: RunFolder,
    protected: Iterable[Path],
    context: RunContext,
    *,
    replace: bool,
) -> None:
    """Check that an export may be written to `destination`.

    Args:
        destination: Folder of the export.
        run: Run whose model is exported.
        protected: Paths that must not be replaced: the original model, and the
            checkpoint from which other formats are made.
        context: Cancels while the files of an export to be replaced are read.
        replace: Whether a person has allowed to replace an export in the folder.

    Raises:
        ExportError: The folder holds anything else, its parent is not writable, or the
            run keeps its own files there.
    """
    try:
        _check_name(destination)
        with suppress(FileNotFoundError):
            destination.stat()  # not for a path too long, or with links in a circle
        _check_not_of_run(destination, run)
        remove_leftovers(destination.parent, destination.name)
        if replace and destination.is_dir() and any(destination.iterdir()):
            _check_not_protected(destination, protected)
            check_own(destination, check=context.raise_if_cancelled)
        else:
            check_not_occupied(destination, ExportError)
        trial = partial_path(nearest_existing(destination.parent) / destination.name)
        if not trial.exists():
            trial.mkdir()
            trial.rmdir()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise _unwritable(destination, error) from error


def _check_name(destination: Path) -> None:
    if not destination.name:
        raise ExportError(
            "{folder} is the root of a disk.",
            "Choose a folder on it.",
            folder=destination,
        )
    if (length := len(os.fsencode(destination.name))) > _MAX_NAME:
        raise ExportError(
            "The name of the export folder has {length:,} bytes; at most "
            "{max_name} are possible.",
            "Choose a shorter name.",
            length=length,
            max_name=_MAX_NAME,
        )
    if destination.is_symlink():
        raise ExportError(
            "{folder} is a link.", "Choose the folder itself.", folder=destination
        )


def _check_not_of_run(destination: Path, run: RunFolder) -> None:
    target, run_path = destination.resolve(), run.path.resolve()
    is_nested = target.is_relative_to(run_path) and target.parent != run_path
    own_paths = {path.resolve() for path in run.own_paths}
    if run_path.is_relative_to(target) or is_nested or target in own_paths:
        raise ExportError(
            "{folder} is where the run itself keeps its files.",
            "Choose another folder, or leave the destination empty.",
            folder=destination,
        )


def _check_not_protected(destination: Path, protected: Iterable[Path]) -> None:
    target = destination.resolve()
    for path in (*protected, Path.cwd(), Path(os.path.expanduser("~"))):
        if path.resolve().is_relative_to(target):
            raise ExportError(
                "{folder} contains {path}, which must not be replaced.",
                "Choose another folder.",
                folder=destination,
                path=path,
            )


def check_disk_space(destination: Path, needed: int) -> None:
    """Check that the disk of `destination` has `needed` bytes free.

    Raises:
        ExportError: The disk has less.
    """
    free = free_bytes(destination)
    if free < needed:
        raise ExportError(
            "The checkpoint needs {needed:size}, but the disk of {folder} "
            "has {free:room} free.",
            "Free some space, or choose a folder on another disk.",
            needed=needed,
            folder=destination,
            free=free,
        )


@contextmanager
def write_checkpoint_at(
    destination: Path, context: RunContext, *, replace: bool
) -> Iterator[Path]:
    """Yield a temporary folder that becomes `destination` when the block succeeds.

    Args:
        destination: Folder of the checkpoint, which gets a marker.
        context: Is told where a folder is that could not be moved to the trash.
        replace: Whether what is there makes room once the new folder is complete.

    Raises:
        ExportError: The destination is occupied or cannot be written.
    """
    aside = name_beside(destination) if replace else None
    if not replace:
        check_not_occupied(destination, ExportError)
    try:
        with write_folder_atomically(destination, aside) as folder:
            yield folder
            write_marker(folder)
    except (OSError, SafetensorError) as error:
        raise _unwritable(destination, error) from error
    if aside is not None and os.path.lexists(aside) and not trash_export(aside):
        context.warn(
            "What was in {folder} is now in {aside}.", folder=destination, aside=aside
        )


def _unwritable(destination: Path, error: Exception) -> ExportError:
    reason = getattr(error, "strerror", None) or error
    return ExportError(
        unwritable(destination, reason),
        "Choose a folder that you may write to, on a disk with space for the model.",
    )
