"""The folder of one run: its files, the log of events, the report.

    run.toml        the config at the start of the run
    events.jsonl    all events
    process.json    the process that works on the run, or was killed at it
    name.txt        the name that the user has given to the run, if any
    notes.txt       the notes of the user about the run, if any
    tags.txt        the tags of the run, one in each line, if any
    report.json     the figures, once the run is complete
    report.html     a report to read, written by the window
    resume/         the state of a run that is not complete (`saved_state.py`)
    probe.safetensors   logits of the pruned model, to verify checkpoints
    export/         the pruned checkpoint, unless the config names another folder
    checkpoint/     a checkpoint for transformers, if the export is none or has failed

Files are complete: they are written under a temporary name, flushed to disk and
renamed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.migration import migrate
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.api.decoding import convert, decode_json
from surgeon_engine.api.errors import ConfigError, RunFolderError
from surgeon_engine.api.export_marker import trash_export, write_marker
from surgeon_engine.api.files import (
    check_not_occupied,
    expand_path,
    name_beside,
    remove_leftovers,
    remove_temporary_folders,
    write_atomically,
)
from surgeon_engine.api.messages.earlier import Correction, with_correction
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.run import (
    Evaluation,
    Exported,
    Recovered,
    ShotFinished,
)
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.process_lock import encode_process_lock, is_locked
from surgeon_engine.api.saved_state import StateFolder

_BLOCK = 65_536  # bytes
_UNFINISHED = re.compile(r"\.tmp\w{6}")


class Report(msgspec.Struct, frozen=True):
    """The recipe and the figures of a complete run, stored in `report.json`."""

    config: RunConfig
    model: ModelSummary
    versions: dict[str, str]
    device: str
    baseline: Evaluation
    shots: tuple[ShotFinished, ...]
    exported: Exported | None  # None: the export failed, but the checkpoint exists
    checkpoint: str  # folder of the checkpoint from which other formats are made
    stopped_early: bool
    seconds: float
    seconds_of_stages: dict[str, float]
    peak_memory_bytes: int  # of the engine's process; on a GPU: of the run
    recovered: Recovered | None = None  # None: not requested, left out or undone


class _Ending(msgspec.Struct):
    """The part of a `Report` that says how a run has ended."""

    stopped_early: bool
    exported: dict[str, Any] | None


class RunFolder:
    """The files of the run at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # reports contain it

    @property
    def config_path(self) -> Path:
        """The config of the run."""
        return self.path / "run.toml"

    @property
    def events_path(self) -> Path:
        """The events, one `Envelope` in each line."""
        return self.path / "events.jsonl"

    @property
    def report_path(self) -> Path:
        """The `Report`."""
        return self.path / "report.json"

    @property
    def name_path(self) -> Path:
        """The name that the user has given to the run, in one line."""
        return self.path / "name.txt"

    @property
    def notes_path(self) -> Path:
        """The notes of the user about the run."""
        return self.path / "notes.txt"

    @property
    def tags_path(self) -> Path:
        """The tags of the run, one in each line."""
        return self.path / "tags.txt"

    @property
    def html_path(self) -> Path:
        """The report to read."""
        return self.path / "report.html"

    @property
    def process_path(self) -> Path:
        """The lock of the process that works on the run."""
        return self.path / "process.json"

    @property
    def is_being_worked_on(self) -> bool:
        """Whether the process that began the run is alive."""
        return is_locked(self.process_path)

    @property
    def probe_path(self) -> Path:
        """Logits of the pruned model, to verify its checkpoints."""
        return self.path / "probe.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        """The checkpoint for transformers, if the export is none."""
        return self.path / "checkpoint"

    @property
    def saved_state(self) -> StateFolder:
        """The state of a run that is not complete, from which it can go on."""
        return StateFolder(self.path)

    @property
    def own_paths(self) -> tuple[Path, ...]:
        """Paths that no export may replace."""
        return (
            self.config_path,
            self.events_path,
            self.report_path,
            self.name_path,
            self.notes_path,
            self.tags_path,
            self.html_path,
            self.process_path,
            self.probe_path,
            self.checkpoint_path,
            self.saved_state.path,
            self._unverified_path,
        )

    @property
    def exports(self) -> tuple[Path, ...]:
        """The folders of exports that are in the folder of the run."""
        names = ("export", "transformers", *(each.value for each in Format))
        paths = (*(self.path / name for name in names), self._unverified_path)
        return tuple(path for path in paths if path.is_dir())

    @property
    def _unverified_path(self) -> Path:
        return self.path / "export-unverified"

    def discard(self) -> None:
        """Delete what a run writes at its start; the folder too, if nothing is left.

        A name, tags and notes that the user has given stay.
        """
        for path in (self.config_path, self.events_path, self.process_path):
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):
            self.path.rmdir()

    def export_path(self, config: RunConfig) -> Path:
        """Return the folder for the export of a run with `config`."""
        if not config.export.folder:
            return self.path / "export"
        return expand_path(config.export.folder)

    def create(self, config: RunConfig) -> None:
        """Create the folder and write the config into it.

        Raises:
            RunFolderError: The path is occupied or cannot be written.
        """
        check_not_occupied(self.path, RunFolderError)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.config_path, config_to_toml(config).encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def read_config(self) -> RunConfig:
        """Return the config that the run was started with.

        Raises:
            OSError: It cannot be read.
            ConfigError: It is damaged.
        """
        try:
            text = self.config_path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(str(error)) from error
        return config_from_toml(text)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process work on the run during the block.

        A process that is killed leaves the lock, which then counts no longer.

        Raises:
            RunFolderError: A process works on the run, or it cannot be written.
        """
        if self.is_being_worked_on:
            raise self._locked()
        try:
            self.process_path.unlink(missing_ok=True)  # of a dead process
            with self.process_path.open("xb") as file:
                file.write(encode_process_lock())
        except FileExistsError as error:
            raise self._locked() from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            with suppress(OSError):
                self.process_path.unlink()

    def remove_cut_off_line(self) -> None:
        """Remove a last line of the log that an interruption has cut off.

        Raises:
            RunFolderError: The log cannot be written.
        """
        try:
            with self.events_path.open("ab+") as file:
                file.truncate(_end_of_last_line(file))
        except OSError as error:
            raise self._unwritable(error) from error

    def _locked(self) -> RunFolderError:
        return RunFolderError(
            f"A process is working on the run in {self.path}.",
            "Wait until it is done, or end it.",
        )

    def _unwritable(self, error: OSError) -> RunFolderError:
        return RunFolderError(
            f"The run folder {self.path} cannot be written: {error.strerror}.",
            "Choose a folder that you may write to.",
        )

    def append(self, envelope: Envelope) -> None:
        """Append an event to the log."""
        with self.events_path.open("ab") as log:
            log.write(msgspec.json.encode(envelope) + b"\n")

    def write_report(self, report: Report) -> None:
        """Write `report.json`."""
        text = msgspec.json.format(msgspec.json.encode(report), indent=2)
        try:
            write_atomically(self.report_path, text)
        except OSError as error:
            raise RunFolderError(
                f"{self.report_path} cannot be written: {error.strerror}.",
                "The checkpoint is complete: keep it, and free some space.",
            ) from error

    def checkpoint_of(self, report: Report) -> Path:
        """Return the checkpoint that a report names, also if the run was moved."""
        named = Path(report.checkpoint)
        in_run = self.path / named.name
        is_fallback = named.name == self.checkpoint_path.name
        is_own = is_fallback or not report.config.export.folder
        return in_run if is_own and in_run.is_dir() else named

    def keep_unverified(self, checkpoint: Path) -> Path:
        """Move a checkpoint that failed its verification here; return its path.

        One of an earlier export goes to the trash, or stays beside it.
        """
        write_marker(checkpoint)
        path = self._unverified_path
        if os.path.lexists(path):
            aside = path.rename(name_beside(path))
            trash_export(aside)
        shutil.move(checkpoint, path)
        return path

    def read_report(self) -> Report:
        """Read `report.json`.

        Raises:
            RunFolderError: The file is missing or is not a report of Surgeon.
        """
        try:
            data = decode_json(self.report_path.read_bytes(), dict[str, Any])
            if isinstance(config := data.get("config"), dict):
                data["config"], _ = migrate(config)
            report = convert(data, Report)
            correction = convert(data.get("corrected"), Correction | None)
            shots = with_correction(report.shots, correction)
            return msgspec.structs.replace(report, shots=shots)
        except (
            OSError,
            msgspec.MsgspecError,
            UnicodeDecodeError,
            ConfigError,
        ) as error:
            raise RunFolderError(
                f"{self.path} is not the folder of a finished run: {error}.",
                "Choose a folder that holds a report.json.",
            ) from error


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
        elif any(run.path.glob(f".{run.config_path.name}.*")):
            # The process was killed while it wrote the first file of the run.
            remove_leftovers(run.path, run.config_path.name)
            with suppress(OSError):  # it holds something else
                run.path.rmdir()


def _remove_litter_of(run: RunFolder) -> None:
    for path in (run.path, run.saved_state.path):
        if path.is_symlink():
            continue
        remove_leftovers(path)
        if not run.is_being_worked_on:
            _remove_unfinished(path)
    if not run.saved_state.path.exists() or run.is_being_worked_on:
        return
    # The process was killed while the state was being deleted, or right before.
    if not run.saved_state.exists or _is_complete(run):
        with suppress(OSError):  # the next start tries again
            run.saved_state.discard()


def _is_complete(run: RunFolder) -> bool:
    """Return whether a run has reached its end, so that it cannot go on."""
    try:
        report = decode_json(run.report_path.read_bytes(), _Ending)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return not report.stopped_early and report.exported is not None


def _remove_unfinished(folder: Path) -> None:
    """Remove files that safetensors was writing when its process was killed."""
    for path in folder.glob(".tmp*"):
        if _UNFINISHED.fullmatch(path.name) and path.is_file():
            with suppress(OSError):
                path.unlink()


def _end_of_last_line(file: BinaryIO) -> int:
    """Return the position after the last line that ends with a line break."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def new_run_folder(parent: Path, model: str) -> Path:
    """Return the path of a new folder in `parent`, named by the time and the model."""
    name = Path(model).name.removesuffix(".gguf")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    path, number = parent / stem, 1
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}"
    return path
