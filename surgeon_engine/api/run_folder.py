"""The folder of one run: its files, the log of events, the report.

docs/formats.md lists the files. They are complete: they are written under a temporary
name, flushed to disk and renamed. Who works on a run, or cleans up in its folder, holds
its lock.

A run that is refused or cancelled before `RunStarted` leaves no folder: what was wrong
is in the message, and there is nothing to go on from. One that fails later keeps its
folder and log, and so does one that ends by an error that nobody expected. A detached
run always keeps them: nobody may have been there to read why it was refused.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec

from surgeon_engine.api.config.export import QUANTIZED, FileDtype, Format
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import TOML_LIMIT, config_from_toml, config_to_toml
from surgeon_engine.api.export_marker import MARKER, trash_export, write_marker
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.judgment import Judgment
from surgeon_engine.api.report import Report
from surgeon_engine.api.saved_state import StateFolder
from surgeon_engine.base.decoding import decode_json, encode_json
from surgeon_engine.base.errors import RunFolderError, UnreadableFileError
from surgeon_engine.base.files import (
    check_exists,
    check_not_occupied,
    expand_path,
    name_beside,
    numbered_names,
    write_atomically,
)
from surgeon_engine.base.path_problems import unwritable
from surgeon_engine.base.paths import command_on
from surgeon_engine.base.process_lock import (
    LockedError,
    ProcessLock,
    Use,
    end_lock,
    use_of,
)
from surgeon_engine.base.reading import (
    end_of_last_line,
    open_to_append,
    read_lines,
    read_text,
)
from surgeon_engine.base.sealed_json import read_sealed_json, sealed_json, sealed_line
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.base.versions import (
    JUDGMENT,
    LOG,
    REPORT,
    OtherVersionError,
    Version,
    check_version,
)

LOG_HEADER = encode_json(Version(LOG)) + b"\n"


class RunFolder:
    """The files of the run at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path = expand_path(path).absolute()  # reports contain it
        self.config_path = path / "run.toml"
        self.events_path = path / "events.jsonl"  # one `Envelope` in each line
        self.report_path = path / "report.json"
        self.judgment_path = path / "judgment.json"
        self.name_path = path / "name.txt"
        self.notes_path = path / "notes.txt"
        self.tags_path = path / "tags.txt"
        self.html_path = path / "report.html"
        self.process_path = path / "process.json"
        self.commands_path = path / "commands.jsonl"
        self.output_path = path / "output.txt"
        self.probe_path = path / "probe.safetensors"
        self.checkpoint_path = path / "checkpoint"
        self.saved_state = StateFolder(path)
        self._unverified_path = path / "export-unverified"
        # The files that exist before a detached run begins.
        self._detached_paths = (self.process_path, self.commands_path, self.output_path)

    @property
    def use(self) -> Use | None:
        """The process that works on the run; None: there is none."""
        return use_of(self.process_path)

    @property
    def is_being_worked_on(self) -> bool:
        """Whether a process works on the run, or may do so on another computer."""
        return self.use is not None

    @property
    def is_run(self) -> bool:
        """Whether a run has begun in the folder."""
        return self.events_path.is_file()

    @property
    def has_config(self) -> bool:
        """Whether the folder has the config of a run; an export's is a copy."""
        return self.config_path.is_file() and not (self.path / MARKER).is_file()

    @property
    def own_paths(self) -> tuple[Path, ...]:
        """Paths that no export may replace."""
        return (
            self.config_path,
            self.events_path,
            self.report_path,
            self.judgment_path,
            self.name_path,
            self.notes_path,
            self.tags_path,
            self.html_path,
            *self._detached_paths,
            self.probe_path,
            self.checkpoint_path,
            self.saved_state.path,
            self._unverified_path,
        )

    @property
    def exports(self) -> tuple[Path, ...]:
        """The folders of exports that are in the folder of the run."""
        names = (export_name(x, dtype) for x in Format for dtype in FileDtype)
        found = ("export", *names, self._unverified_path.name)
        paths = (self.path / name for name in found)
        return tuple(path for path in paths if path.is_dir())

    def discard(self) -> None:
        """Delete what a run writes at its start.

        A name, tags and notes that the user has given stay; without them, the folder is
        deleted when its lock is released.
        """
        for path in (self.config_path, self.events_path):
            with suppress(OSError):
                path.unlink()

    def export_path(self, config: RunConfig) -> Path:
        """Return the folder for the export of a run with `config`."""
        if not config.export.folder:
            return self.path / "export"
        return expand_path(config.export.folder)

    def make(self) -> None:
        """Make the folder; it may hold files that precede the start of a detached run.

        Raises:
            RunFolderError: The path is occupied or cannot be written.
        """
        self.check_not_occupied()
        with self._described_errors():
            self.path.mkdir(parents=True, exist_ok=True)

    def check_not_occupied(self) -> None:
        """Check that the folder holds nothing but what a detached run begins with.

        Raises:
            RunFolderError: It holds something else.
        """
        try:
            is_new = set(self.path.iterdir()) <= set(self._detached_paths)
        except OSError:
            is_new = False
        if not is_new:
            check_not_occupied(self.path, RunFolderError)

    @contextmanager
    def created(self, config: RunConfig) -> Iterator[None]:
        """Create the folder with a config, and lock it during the block.

        Raises:
            RunFolderError: The path is occupied or cannot be written.
        """
        self.make()
        with self.locked():
            self.check_not_occupied()  # since a moment ago
            with self._described_errors():
                write_atomically(self.config_path, config_to_toml(config).encode())
            yield

    def read_config(self) -> RunConfig:
        """Return the config that the run was started with.

        Raises:
            UnreadableFileError: It cannot be read.
            ConfigError: It is damaged.
        """
        return config_from_toml(read_text(self.config_path, TOML_LIMIT))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process work on the run during the block.

        Raises:
            RunFolderError: A process works on the run, or it cannot be written.
            UnreadableFileError: Its lock is no regular file, or its disk has no locks.
        """
        lock = ProcessLock(self.process_path)
        with self._described_errors():
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
            with suppress(OSError):  # it holds something, unless the run was discarded
                self.path.rmdir()

    def check_resumable(self) -> None:
        """Check that there is a saved state from which the run can go on.

        Raises:
            RunFolderError: There is none, or not yet: a process works on the run.
        """
        if self.saved_state.exists:
            return
        if (use := self.use) is not None:
            raise self._locked(use)
        if self.report_path.is_file():
            self.read_report()  # raises if it is damaged
            raise RunFolderError(
                "The run in {path} is complete: there is nothing to resume.",
                "To see its result: {command}",
                path=self.path,
                command=command_on(self.path, "inspect"),
            )
        check_exists(self.path, RunFolderError)
        self.saved_state.read()  # raises

    def take_over(self) -> None:
        """Let processes of this computer work on a run of another one.

        A person says that the other computer does not work on it any longer.

        Raises:
            RunFolderError: A process of this computer works on the run, or it cannot
                be written.
            UnreadableFileError: See `locked`.
        """
        if self.use is not None:
            with self._described_errors():
                end_lock(self.process_path)

    def remove_cut_off_line(self) -> None:
        """Remove a last line of the log that an interruption has cut off.

        Raises:
            RunFolderError: The log cannot be written.
            UnreadableFileError: It is a link, a pipe, a device or a folder, or its
                last line is too long.
        """
        with self._described_errors(), open_to_append(self.events_path) as file:
            file.truncate(end_of_last_line(file, self.events_path))

    @contextmanager
    def _described_errors(self) -> Iterator[None]:
        try:
            yield
        except LockedError as error:
            raise self._locked(error.use) from error
        except OSError as error:
            raise RunFolderError(
                "The run folder {path} cannot be written: {reason:clause}.",
                "Choose a folder that you may write to.",
                path=self.path,
                reason=error.strerror,
            ) from error

    def _locked(self, use: Use) -> RunFolderError:
        hint = say("Wait until it is done, or end it.")
        if use.is_elsewhere:
            command = command_on(self.path, "resume", "--take-over")
            hint = say_all(hint, say("If it has ended: {command}", command=command))
        path, holder = self.path, use.holder
        if holder is None:
            return RunFolderError(
                "A process is working on the run in {path}.", hint, path=path
            )
        return RunFolderError(
            "The computer {computer} has been working on the run in {path} since "
            "{start}."
            if use.is_elsewhere
            else "Process {pid} has been working on the run in {path} since {start}.",
            hint,
            computer=holder.computer,
            pid=holder.pid,
            path=path,
            start=holder.start,
        )

    def append(self, envelope: Envelope) -> None:
        """Append an event to the log.

        Raises:
            UnreadableFileError: The log is a link, a pipe, a device or a folder.
            OSError: It cannot be written.
        """
        with open_to_append(self.events_path) as log:
            header = b"" if log.tell() else LOG_HEADER
            log.write(header + sealed_line(envelope))

    def log_lines(self, start: int = 0) -> Iterator[bytes]:
        """Yield the lines of the log after its header.

        `start` is the offset of a line, in bytes, that follows the header; 0: the
        header is checked, and all lines follow.

        Raises:
            OtherVersionError: The log has another version.
            UnreadableFileError: It cannot be read, or its header is damaged.
        """
        lines = read_lines(self.events_path, start=start)
        if start:
            yield from lines
            return
        header = next(lines, b"")
        if not header.endswith(b"\n"):
            return  # the process was killed while writing
        try:
            version = decode_json(header, Version).version
        except msgspec.MsgspecError as error:
            raise UnreadableFileError(
                "Line 1 of {path} cannot be read: {error:clause}.",
                path=self.events_path,
                error=error,
            ) from error
        check_version(self.events_path, version, LOG)
        yield from lines

    def write_report(self, report: Report) -> None:
        """Write `report.json`, sealed by a checksum.

        A checkpoint that it does not name goes to the trash: an export that failed
        before has left it.
        """
        try:
            write_atomically(self.report_path, sealed_json(report, REPORT, indent=2))
        except OSError as error:
            raise RunFolderError(
                unwritable(self.report_path, error),
                "The checkpoint is complete: keep it, and free some space.",
            ) from error
        if Path(report.checkpoint).name != self.checkpoint_path.name:
            trash_export(self.checkpoint_path)

    def checkpoint_of(self, report: Report) -> Path:
        """Return the checkpoint that a report names, also if the run was moved."""
        return self._current(Path(report.checkpoint), report.config)

    def export_of(self, report: Report) -> Path | None:
        """Return the export that a report names, also if the run was moved."""
        if report.exported is None:
            return None
        return self._current(Path(report.exported.folder), report.config)

    def _current(self, named: Path, config: RunConfig) -> Path:
        """Return where a folder is that the run has written."""
        in_run = self.path / named.name
        is_fallback = named.name == self.checkpoint_path.name
        is_own = is_fallback or not config.export.folder
        return in_run if is_own and os.path.isdir(in_run) else named

    def result_of(self, report: Report) -> str:
        """Return the source of the model that a run has made, as of `ModelConfig`."""
        if not report.checkpoint:
            return report.config.model.source
        return str(self.checkpoint_of(report))

    def keep_unverified(self, checkpoint: Path) -> Path:
        """Move a checkpoint that failed its verification here; return its path.

        One of an earlier export goes to the trash, or stays beside it.
        """
        write_marker(checkpoint)
        path = self._unverified_path
        if os.path.lexists(path):
            trash_export(path.rename(name_beside(path)))
        shutil.move(checkpoint, path)
        return path

    def read_judgment(self) -> Judgment | None:
        """Read `judgment.json`; None: it is missing, damaged, or of another version."""
        try:
            return read_sealed_json(self.judgment_path, Judgment, JUDGMENT)
        except UnreadableFileError:
            return None

    def read_report(self) -> Report:
        """Read `report.json`.

        Raises:
            RunFolderError: The file is missing, damaged, or is no report of Surgeon.
        """
        try:
            return read_sealed_json(self.report_path, Report, REPORT)
        except OtherVersionError as error:
            raise RunFolderError(error.message, error.hint) from error
        except UnreadableFileError as error:
            check_exists(self.path, RunFolderError)
            has_report = self.report_path.exists()
            raise RunFolderError(
                "The run in {path} has no result yet."
                if self.is_run and not has_report
                else "{path} is not the folder of a finished run: {reason:clause}.",
                "The file was changed, or made by another version of Surgeon. A model "
                "in the folder can still be used."
                if has_report
                else "Choose a folder that holds a report.json.",
                path=self.path,
                reason=error,
            ) from error


def export_name(file_format: Format, dtype: FileDtype) -> str:
    """Return the name of the folder for a later export; each kind has its own."""
    name = "transformers" if file_format is Format.AUTOMATIC else file_format.value
    return name if dtype is FileDtype.SAME else f"{name}-{dtype.value}"


def plain_name(model: str) -> str:
    """Return the name of a model in characters that every disk takes."""
    name = Path(model).name.removesuffix(".gguf")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def new_run_folder(parent: Path, config: RunConfig) -> Path:
    """Return the path of a new folder in `parent`, named by the time and the model.

    If the run only quantizes, the number format follows.
    """
    name, dtype = plain_name(config.model.source), config.export.dtype
    if config.writes_original and dtype in QUANTIZED:
        name = f"{name}-{dtype}"
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    paths = (parent / each for each in numbered_names(stem))
    return next(each for each in paths if not each.exists())
