"""Checks of the folder of an export, without looking at the exported model."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.model_info.header import local_path
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import ExportError
from surgeon_engine.base.files import check_not_occupied, is_in_unknown_home
from surgeon_engine.base.path_problems import unwritable
from surgeon_engine.base.sentences import say

_MAX_NAME = 200  # bytes; temporary names are longer


def original_paths(config: RunConfig) -> tuple[Path, ...]:
    """Return the path of the original model; empty for the bundled demo."""
    path = local_path(config.model.source)
    return () if path is None else (path,)


def check_export_folder(
    destination: Path, run: RunFolder, protected: Iterable[Path], *, replace: bool
) -> None:
    """Check that an export may be written to a folder, without a trial.

    The `protected` paths must not be replaced: the original model, and the checkpoint
    from which other formats are made. With `replace`, a person has allowed to replace
    an export in the folder.

    Raises:
        ExportError: The folder has what must not be replaced, or the run keeps its own
            files there.
    """
    try:
        _check_name(destination)
        with suppress(FileNotFoundError, NotADirectoryError):
            destination.stat()  # not for a path too long, or with a zero byte
        # Links in a circle are a RuntimeError.
        _check_not_of_run(destination, run)
        has_files = destination.is_dir() and any(destination.iterdir())
        if has_files:
            _check_not_protected(destination, protected)
        if not (replace and has_files):
            check_not_occupied(destination, ExportError)
    except (OSError, RuntimeError, ValueError) as error:
        raise unwritable_export(destination, error) from error


def unwritable_export(destination: Path, error: Exception) -> ExportError:
    """Return the error of a folder that the system does not let be written."""
    reason = getattr(error, "strerror", None) or error
    hint = say("Check your rights and the free space there.")
    return ExportError(unwritable(destination, reason), hint)


def _check_name(destination: Path) -> None:
    if not destination.name:
        raise ExportError(
            "{folder} is the root of a disk.",
            "Choose a folder on it.",
            folder=destination,
        )
    if is_in_unknown_home(destination):
        raise ExportError(
            "There is no user {name}, in whose home {folder} would be.",
            "Choose another folder.",
            name=destination.parts[0][1:],
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
    target, models = destination.resolve(), (*protected,)
    for path in (*models, Path.cwd(), Path(os.path.expanduser("~"))):
        if path.resolve().is_relative_to(target):
            raise ExportError(
                "{folder} must not be replaced."
                if path.resolve() == target
                else "{folder} contains {path}, which must not be replaced.",
                "The model is read from there. Choose another folder."
                if path in models
                else "Choose another folder.",
                folder=destination,
                path=path,
            )
