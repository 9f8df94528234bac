"""The target of a judgment: the export of a run, or any file and its original."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.judgment import JudgeSettings
from surgeon_engine.api.model_info.files import GGUF_FILE
from surgeon_engine.api.model_info.source_names import DEMO, is_hub_source
from surgeon_engine.api.report import Report
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import ConfigError, ModelError
from surgeon_engine.base.files import check_exists, expand_path
from surgeon_engine.base.paths import command_on
from surgeon_engine.compaction.restore import result_of
from surgeon_engine.export.file_fidelity import put_file
from surgeon_engine.judging.answers import Speaker
from surgeon_engine.measurement.benchmark_process import load
from surgeon_engine.model.source import locate
from surgeon_engine.runtime import devices


@dataclass(frozen=True, slots=True)
class Target:
    """A file, its original, and the settings of their run."""

    name: str
    source: str  # the file; for a run's GGUF, the model that the run has made
    gguf: Path | None  # the file, if it is one
    config: RunConfig  # names the original
    run: RunFolder | None = None  # whose export it is
    export: Path | None = None  # the folder of that export, whose card tells of it
    path: Path | None = None  # where the judgment is written; None: nowhere

    @property
    def original(self) -> Speaker:
        """The original, as it answers."""
        config = self.config.model
        found = locate(config.source)
        gguf = found.folder / found.gguf_file if found.gguf_file else None
        return Speaker(gguf, config, config.source)

    @property
    def file(self) -> Speaker:
        """The file, as it answers."""
        config = dataclasses.replace(self.config.model, source=self.source)
        return Speaker(self.gguf, config, self.config.model.source)

    @contextmanager
    def loaded(self) -> Iterator[PreTrainedModel]:
        """Keep a model with the numbers of the file in memory during the block.

        Raises:
            EngineError: it cannot be read.
        """
        config = dataclasses.replace(self.config.model, source=self.source)
        if self.run is None or self.gguf is None:
            yield load(config)
        else:
            # The widths of its blocks may differ, which transformers does not read.
            pruned = result_of(self.run, self.run.read_report(), config)
            model = pruned.loaded.model.to(devices.dtype_of(config.dtype))
            put_file(pruned, self.gguf)
            yield model.to(devices.choose(config.device))


def target_of(target: str, original: str, settings: JudgeSettings) -> Target:
    """Return the target of a judgment.

    Args:
        target: folder of a finished run, or a model.
        original: as `ModelConfig.source`; empty: the run's original.
        settings: name the device.

    Raises:
        ConfigError: no original is named, and the target is of no run.
        RunFolderError: the run cannot be read.
    """
    path = expand_path(target)
    if (in_run := _export_of(path)) is not None:
        return _exported(*in_run, original, settings)
    if not original:
        if target != DEMO and not is_hub_source(target):
            check_exists(path, ConfigError)
        raise ConfigError(
            "{target} is not the folder of a finished run, so its original is unknown.",
            "Name the original, too: {command}",
            target=target,
            command=command_on(target, "judge", "ORIGINAL"),
        )
    found = locate(target)
    gguf = found.folder / found.gguf_file if found.gguf_file else None
    config = RunConfig(ModelConfig(source=original, device=settings.device))
    # No model of the Hub, and not the demo.
    written = _beside(path) if os.path.exists(path) else None
    return Target(found.name, target, gguf, config, path=written)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.judgment.json")


def _export_of(path: Path) -> tuple[RunFolder, Path | None] | None:
    """Return the run of a folder or file in it, and the export that it names.

    None for the export: the run's own. None: it is in no run.
    """
    if os.path.isfile(RunFolder(path).report_path):
        return RunFolder(path), None
    folder = path.parent if path.name == GGUF_FILE else path
    run = RunFolder(folder.parent)
    return (run, folder) if os.path.isfile(run.report_path) else None


def _exported(
    run: RunFolder, folder: Path | None, original: str, settings: JudgeSettings
) -> Target:
    report = run.read_report()
    own = run.export_of(report)
    folder = folder or own
    if folder is None:
        raise ConfigError(
            "The export of the run in {path} has failed, so there is no file to judge.",
            "Export it again: {command}",
            path=run.path,
            command=command_on(run.path, "export", "--to FOLDER"),
        )
    if not os.path.isdir(folder):
        raise ModelError(
            "The export of the run is no longer in {folder}.",
            "Put it back, or export the run again.",
            folder=folder,
        )
    model = dataclasses.replace(
        report.config.model,
        source=original or report.config.model.source,
        device=settings.device,
        gpus=1,
    )
    config = dataclasses.replace(report.config, model=model)
    # A run, and a card, has the judgment against the run's own original.
    has_own_original = model.source == report.config.model.source
    is_own = folder == own and has_own_original
    path = run.judgment_path if is_own else _beside(folder)
    card, gguf = folder if has_own_original else None, folder / GGUF_FILE
    if not os.path.isfile(gguf):
        return Target(run.path.name, str(folder), None, config, run, card, path)
    source = _result_of(run, report, original)
    return Target(run.path.name, source, gguf, config, run, card, path)


def _result_of(run: RunFolder, report: Report, original: str) -> str:
    """Return the source of the model that a run has made.

    If the run has removed nothing, that is the run's own original. The given one takes
    its place only if it cannot be read, as after it was moved.
    """
    own = run.result_of(report)
    if report.checkpoint or not original:
        return own
    try:
        locate(own)
    except ModelError:
        return original
    return own
