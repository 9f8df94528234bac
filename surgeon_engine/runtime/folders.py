"""Lists of files, models and runs, for a window on another computer.

This module imports no torch.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from surgeon_engine.api.messages.commands import ListFiles, ListModels, ListRuns
from surgeon_engine.api.messages.files import (
    MAX_ENTRIES,
    MAX_RUNS,
    FileEntry,
    FileKind,
    FilesListed,
    ModelsListed,
    RunEntry,
    RunOutcome,
    RunsListed,
)
from surgeon_engine.api.model_info.source_names import cached_models
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError, RunFolderError, UnreadableFileError
from surgeon_engine.base.files import expand_path, size_of_folder
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.reading import read_text


def listed(
    command: ListFiles | ListModels | ListRuns,
) -> FilesListed | ModelsListed | RunsListed:
    """Return the response to a command.

    Raises:
        RunFolderError: The folder cannot be read.
    """
    match command:
        case ListFiles(folder=folder):
            return list_files(folder)
        case ListModels():
            return ModelsListed(cached_models()[:MAX_ENTRIES])
        case ListRuns(folder=folder):
            return list_runs(folder)


def list_files(folder: str) -> FilesListed:
    """List a folder without its hidden entries: folders first, then by name.

    Raises:
        RunFolderError: It cannot be read.
    """
    path = expand_path(folder or "~").resolve()
    with _described_errors(path):
        found = [each for each in os.scandir(path) if not each.name.startswith(".")]
    entries = [_entry(each) for each in found if _is_text(each.name)]
    entries.sort(key=lambda x: (x.kind is not FileKind.FOLDER, x.name.casefold()))
    parent = "" if path.parent == path else str(path.parent)
    del entries[MAX_ENTRIES:]
    omitted = len(found) - len(entries)
    return FilesListed(str(path), parent, tuple(entries), omitted)


@contextmanager
def _described_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            unreadable(path, error), "Choose another folder."
        ) from error


def _is_text(name: str) -> bool:
    """Return whether a name can be sent: its bytes may be in an older encoding."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entry(each: os.DirEntry[str]) -> FileEntry:
    try:
        if each.is_dir():
            is_model = Path(each.path, "config.json").is_file()
            return FileEntry(each.name, FileKind.MODEL if is_model else FileKind.FOLDER)
        facts = each.stat()
    except OSError:  # a broken link
        return FileEntry(each.name, FileKind.FILE)
    is_model = each.name.lower().endswith(".gguf") and stat.S_ISREG(facts.st_mode)
    kind = FileKind.MODEL if is_model else FileKind.FILE
    return FileEntry(each.name, kind, facts.st_size)


def list_runs(folder: str) -> RunsListed:
    """List the runs in a folder, the latest first; none if it does not exist.

    Raises:
        RunFolderError: It cannot be read.
    """
    path = expand_path(folder)
    folders: list[Path] = []
    with _described_errors(path), suppress(FileNotFoundError):
        folders = [each for each in path.iterdir() if each.is_dir()]
    shown = [x for x in folders if not x.name.startswith(".") and _is_text(x.name)]
    runs = [RunFolder(each) for each in shown]
    dated = [(_changed(run), run) for run in runs if run.has_config]
    dated.sort(key=lambda pair: -pair[0])
    found = tuple(_run_entry(run, at) for at, run in dated[:MAX_RUNS])
    return RunsListed(str(path), found, max(0, len(dated) - MAX_RUNS))


def _changed(run: RunFolder) -> float:
    times = [0.0]
    for path in (run.config_path, run.events_path, run.report_path):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _run_entry(run: RunFolder, at: float) -> RunEntry:
    folders = (*run.exports, run.checkpoint_path)
    outcome, config = _outcome_of(run), None
    if outcome in (RunOutcome.INTERRUPTED, RunOutcome.RUNNING):
        with suppress(EngineError):
            config = run.read_config()
    return RunEntry(
        folder=str(run.path),
        name=_name_of(run),
        outcome=outcome,
        at=at,
        bytes=size_of_folder(run.path),
        export_bytes=sum(map(size_of_folder, folders)),
        config=config,
        is_detached=run.output_path.is_file(),
    )


def _name_of(run: RunFolder) -> str:
    try:
        return read_text(run.name_path).strip() or run.path.name
    except UnreadableFileError:
        return run.path.name


def _outcome_of(run: RunFolder) -> RunOutcome:
    if run.is_being_worked_on:
        return RunOutcome.RUNNING
    with suppress(RunFolderError):
        if not run.read_report().stopped_early:
            return RunOutcome.FINISHED
    if run.saved_state.exists:
        return RunOutcome.INTERRUPTED
    is_kept = run.report_path.is_file()
    return RunOutcome.FINISHED if is_kept else RunOutcome.ENDED
