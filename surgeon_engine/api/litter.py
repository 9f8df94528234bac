"""Tidy up after processes that were killed, in the folders of runs."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

from surgeon_engine.api.messages.events import OF_START, Cancelled, Envelope
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError, RunFolderError
from surgeon_engine.base.files import remove_leftovers, remove_temporary_folders
from surgeon_engine.base.process_lock import last_holder

_UNFINISHED = re.compile(r"\.tmp\w{6}")


def remove_litter(parent: Path) -> None:
    """Remove what dead processes have left in the run folders in `parent`.

    Also remove their temporary folders.
    """
    remove_temporary_folders()
    remove_leftovers(parent)
    try:
        paths = [path for path in parent.iterdir() if not path.is_symlink()]
    except OSError:
        return
    for run in map(RunFolder, paths):
        if run.config_path.is_file():
            _remove_litter_of(run)
        else:
            _remove_never_begun(run)


def log_cancel(run: RunFolder) -> None:
    """Log that a run was canceled, after its process was killed.

    One that had not begun is discarded, unless it is detached.
    """
    if not run.has_config:
        return
    with suppress(EngineError, OSError), run.locked():
        run.remove_cut_off_line()
        has_begun = any(OF_START in line for line in run.log_lines())
        if has_begun or run.saved_state.exists or run.output_path.is_file():
            run.append(Envelope("", time.time(), Cancelled()))
        else:
            run.discard()


def is_complete(run: RunFolder) -> bool:
    """Return whether a run has reached its end, so that it cannot go on."""
    try:
        report = run.read_report()
    except RunFolderError:
        return False
    return not report.stopped_early and report.exported is not None


def _remove_never_begun(run: RunFolder) -> None:
    """Remove a folder whose process was killed before it had written the config."""
    first = run.config_path.name
    has_litter = any(run.path.glob(f".{first}.*"))
    remove_leftovers(run.path, first)
    names = [path.name for path in run.path.glob("*")]
    if has_litter and not names:
        with suppress(OSError):
            run.path.rmdir()
    if names != [run.process_path.name] or run.is_being_worked_on:
        return
    if last_holder(run.process_path) is not None:  # otherwise, it is no lock
        with suppress(EngineError), run.locked():
            pass  # the lock and the empty folder are removed


def _remove_litter_of(run: RunFolder) -> None:
    for path in _own_folders(run):
        remove_leftovers(path)
    if not _has_litter(run) or run.is_being_worked_on:
        return
    with suppress(EngineError, OSError), run.locked():  # the next start tries again
        for path in _unfinished(run):
            path.unlink()
        if _has_litter(run):
            run.saved_state.discard()


def _has_litter(run: RunFolder) -> bool:
    """Return whether a process was killed while it wrote or deleted the state."""
    is_over = run.saved_state.path.exists() and (
        not run.saved_state.exists or is_complete(run)
    )
    return is_over or bool(_unfinished(run))


def _own_folders(run: RunFolder) -> list[Path]:
    """Return the folders of a run that are no links to a person's own folders."""
    return [x for x in (run.path, run.saved_state.path) if not x.is_symlink()]


def _unfinished(run: RunFolder) -> list[Path]:
    """Return the files that safetensors was writing when its process was killed."""
    found = (path for folder in _own_folders(run) for path in folder.glob(".tmp*"))
    return [x for x in found if _UNFINISHED.fullmatch(x.name) and x.is_file()]
