"""The folder of one run: names, atomic writing, the log of events, the report.

    run.toml        the config, as it was when the run began
    events.jsonl    every event, appended as it happened
    process.json    which process works on it, or did
    name.txt        what the user calls it, if it was renamed
    report.json     the figures, once the run is complete
    report.html     the same for people to read, written by the window
    probe.safetensors   some logits of the pruned model, to verify checkpoints with
    export/         the pruned checkpoint, unless the config names another place
    checkpoint/     one for transformers, where the export is none or has failed

Whatever appears here under its final name is complete: files are written under a
temporary name, flushed to disk and renamed. Imports neither torch nor Qt.
"""

from __future__ import annotations

import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from surgeon_engine.api.config.migration import migrate
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.errors import ConfigError, RunFolderError
from surgeon_engine.api.files import check_not_occupied, expand_path, write_atomically
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.run import (
    Corrected,
    Evaluation,
    Exported,
    ShotFinished,
)
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.process_lock import encode_process_lock, is_locked


class Report(msgspec.Struct, frozen=True):
    """What was done and what came of it; `report.json`."""

    config: RunConfig
    model: ModelSummary
    versions: dict[str, str]
    device: str
    baseline: Evaluation
    shots: tuple[ShotFinished, ...]
    corrected: Corrected | None  # None: not asked for, or undone
    exported: Exported | None  # None: that failed, but the checkpoint is there
    checkpoint: str  # folder with the one from which other formats can be made
    stopped_early: bool
    seconds: float
    seconds_of_stages: dict[str, float]
    peak_memory_bytes: int  # of the engine's process so far; on a GPU: of the run


class RunFolder:
    """Files of the run at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # it stands in the report

    @property
    def config_path(self) -> Path:
        """The frozen config."""
        return self.path / "run.toml"

    @property
    def events_path(self) -> Path:
        """One `Envelope` a line."""
        return self.path / "events.jsonl"

    @property
    def report_path(self) -> Path:
        """The `Report`."""
        return self.path / "report.json"

    @property
    def name_path(self) -> Path:
        """What the user calls the run, in one line."""
        return self.path / "name.txt"

    @property
    def html_path(self) -> Path:
        """The report for people to read."""
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
        """Logits of the pruned model, for whoever verifies a checkpoint of it."""
        return self.path / "probe.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        """The checkpoint for transformers, where the export is none."""
        return self.path / "checkpoint"

    @property
    def own_paths(self) -> tuple[Path, ...]:
        """What no export may take the place of."""
        return (
            self.config_path,
            self.events_path,
            self.report_path,
            self.name_path,
            self.html_path,
            self.process_path,
            self.probe_path,
            self.checkpoint_path,
            self._unverified_path,
        )

    @property
    def _unverified_path(self) -> Path:
        return self.path / "export-unverified"

    def export_path(self, config: RunConfig) -> Path:
        """Where the checkpoint of a run with `config` goes."""
        if not config.export.folder:
            return self.path / "export"
        return expand_path(config.export.folder)

    def create(self, config: RunConfig) -> None:
        """Make the folder and write the config into it.

        Raises:
            RunFolderError: there is something at the path already, or it cannot be
                written.
        """
        check_not_occupied(self.path, RunFolderError)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.config_path, config_to_toml(config).encode())
            write_atomically(self.process_path, encode_process_lock())
        except OSError as error:
            raise RunFolderError(
                f"The run folder {self.path} cannot be written: {error.strerror}.",
                "Choose a folder that you may write to.",
            ) from error

    def append(self, envelope: Envelope) -> None:
        """Add one line to the log of events."""
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
                "The checkpoint is complete; make room and keep it.",
            ) from error

    def checkpoint_of(self, report: Report) -> Path:
        """The checkpoint that a report names; the run's own has moved with it."""
        named = Path(report.checkpoint)
        is_kept = named.name == self.checkpoint_path.name
        beside = self.path / named.name
        is_own = is_kept or not report.config.export.folder
        return beside if is_own and beside.is_dir() else named

    def keep_unverified(self, checkpoint: Path) -> Path:
        """Move a checkpoint that failed its check here; where it is then."""
        shutil.rmtree(self._unverified_path, ignore_errors=True)  # of another try
        shutil.move(checkpoint, self._unverified_path)
        return self._unverified_path

    def read_report(self) -> Report:
        """Read `report.json`.

        Raises:
            RunFolderError: there is none, or it is not one of this program's.
        """
        try:
            data = msgspec.json.decode(
                self.report_path.read_bytes(), type=dict[str, Any]
            )
            if isinstance(config := data.get("config"), dict):
                data["config"], _ = migrate(config)
            return msgspec.convert(data, Report)
        except (OSError, msgspec.MsgspecError, ConfigError) as error:
            raise RunFolderError(
                f"{self.path} is not the folder of a finished run: {error}.",
                "Choose a folder that holds a report.json.",
            ) from error


def new_run_folder(parent: Path, model: str) -> Path:
    """A folder in `parent` that does not exist yet, named by the time and the model."""
    name = Path(model).name.removesuffix(".gguf")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    path, number = parent / stem, 1
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}"
    return path
