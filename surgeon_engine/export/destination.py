"""Check the destination of an export and write to it atomically.

Only an export that is exactly as Surgeon wrote it is replaced, and only if a person has
allowed that. It goes to the trash; where there is none, it is kept beside the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.export_folder import (
    check_export_folder,
    original_paths,
    unwritable_export,
)
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
from surgeon_engine.runtime.run_context import RunContext


def check_destination(
    destination: Path,
    run: RunFolder,
    protected: Iterable[Path],
    context: RunContext,
    *,
    replace: bool,
) -> None:
    """Check that an export may be written to `destination`.

    See `check_export_folder` for `protected` and `replace`. `context` cancels while the
    files of an export to be replaced are read.

    Raises:
        ExportError: The folder holds anything else, its parent is not writable, or the
            run keeps its own files there.
    """
    check_export_folder(destination, run, protected, replace=replace)
    try:
        remove_leftovers(destination.parent, destination.name)
        if destination.is_dir() and any(destination.iterdir()):
            check_own(destination, check=context.raise_if_cancelled)
        trial = partial_path(nearest_existing(destination.parent) / destination.name)
        if not trial.exists():
            trial.mkdir()
            trial.rmdir()
    except OSError as error:
        raise unwritable_export(destination, error) from error


def check_destination_of(
    run: RunFolder, config: RunConfig, context: RunContext, *, replace: bool
) -> None:
    """Check that the export of a run may be written; see `check_destination`."""
    destination, protected = run.export_path(config), original_paths(config)
    check_destination(destination, run, protected, context, replace=replace)


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

    The folder gets a marker. With `replace`, an old export makes room once the new
    folder is complete; `context` receives a warning if it could not be moved to the
    trash.

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
        raise unwritable_export(destination, error) from error
    if aside is not None and os.path.lexists(aside) and not trash_export(aside):
        context.warn(
            "What was in {folder} is now in {aside}.", folder=destination, aside=aside
        )
