"""Write a pruned model to disk and verify it; on failure nothing is left there.

choose a format -> check the disk space -> write to a temporary folder
-> load in a fresh process, compare -> write the model card -> rename the folder
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from surgeon_engine.api.config.export import (
    DESCRIPTIONS,
    QUANTIZED,
    ExportConfig,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.export_folder import original_paths
from surgeon_engine.api.export_marker import differences, name_list
from surgeon_engine.api.messages.run import Exported, Fidelity, Stage
from surgeon_engine.api.model_info.files import GGUF_FILE
from surgeon_engine.api.report import Report
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError, ExportError, UnreadableFileError
from surgeon_engine.base.files import expand_path
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.calibration.fenced import load_windows
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.restore import result_of
from surgeon_engine.export.base import Calibration, VerificationResult
from surgeon_engine.export.destination import (
    check_destination,
    check_disk_space,
    write_checkpoint_at,
)
from surgeon_engine.export.file_fidelity import (
    Yardstick,
    fidelity_of_file,
    yardstick_of,
)
from surgeon_engine.export.formats import WRITERS, format_support, resolve_format
from surgeon_engine.export.model_card import card_data, model_card
from surgeon_engine.export.provenance import CARD, provenance_of, published
from surgeon_engine.export.transformers.weight_files import named_dtype
from surgeon_engine.export.verify import (
    describe_mismatch,
    expected_figures,
    tolerance_of,
)
from surgeon_engine.model.classes import auto_classes
from surgeon_engine.model.experts import has_experts
from surgeon_engine.model.identity import stamps_of
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.source import ModelSource
from surgeon_engine.planning.file_form import export_form
from surgeon_engine.planning.formats import check_number_format
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext

RECIPE = "run.toml"  # the job of the run, in its export


@dataclass(frozen=True, slots=True, eq=False)
class ExportJob:
    """A pruned model, the report of its run, and how and where to export it."""

    pruned: PrunedModel
    report: Report
    run: RunFolder
    config: ExportConfig
    destination: Path
    calibration: Calibration | None = None  # for formats that quantize
    replace: bool = False  # an export at the destination
    yardstick: Yardstick | None = None  # for formats that quantize


def export(job: ExportJob, context: RunContext) -> Exported:
    """Write and verify a pruned model, which has the file's weights afterwards.

    Raises:
        ExportError: The model cannot be written, or the written model does not load or
            computes other logits. In the latter case the files are kept in the run's
            folder, marked as unverified.
    """
    pruned, config, destination = job.pruned, job.config, job.destination
    in_memory = expected_figures(job.run.probe_path)
    file_format = resolve_format(config.format, pruned)
    writer = WRITERS[file_format]
    forecast = writer.forecast(pruned, config.dtype)
    check_disk_space(destination, forecast)
    label = DESCRIPTIONS[file_format].label
    context.inform(
        "{label}: the file will take {size:size}.", label=label, size=forecast
    )
    for note in writer.notes(pruned, config.dtype):
        context.inform(note)
    with write_checkpoint_at(destination, context, replace=job.replace) as folder:
        blocks = len(pruned.loaded.blocks)
        with context.stage(Stage.EXPORT, total=blocks) as step:
            calibration = job.calibration
            if calibration is not None:
                check = context.raise_if_cancelled
                calibration = dataclasses.replace(calibration, check=check, step=step)
            writer.on_text(calibration).write(pruned, config, folder)
            weight_bytes = _weight_bytes(folder)
            toml = config_to_toml(published(job.report.config))
            (folder / RECIPE).write_text(toml, encoding="utf-8")
        with context.stage(Stage.VERIFICATION):
            result = _verify(job, file_format, folder, in_memory.perplexity, context)
            fidelity: tuple[Fidelity, ...] = ()
            if job.yardstick is not None and config.dtype in QUANTIZED:
                fidelity = fidelity_of_file(pruned, folder, job.yardstick, context)
        exported = Exported(
            folder=str(destination),
            weight_bytes=weight_bytes,
            tokens_compared=result.tokens,
            largest_difference=result.largest_difference or 0.0,
            format=file_format,
            dtype=named_dtype(config.dtype, pruned.loaded),
            agreement=result.agreement,
            perplexity=result.perplexity,
            expected_perplexity=in_memory.perplexity,
            divergence=result.divergence,
            saving_divergence=result.saving_divergence,
            expected_divergence=in_memory.divergence,
            checked_with=result.checked_with,
            others=format_support(pruned),
            fidelity=fidelity,
        )
        source = pruned.loaded.source
        auto_class = auto_classes(pruned.loaded.model)[0]
        provenance = provenance_of(source)
        card = model_card(source.name, job.report, exported, provenance, auto_class)
        (folder / CARD).write_text(card, encoding="utf-8")
    return exported


def export_again(
    folder: str, config: ExportConfig, context: RunContext, *, replace: bool = False
) -> Exported:
    """Export the model of the finished run in `folder` again, in another format.

    The log of the run records it. With `replace`, a person has allowed to replace an
    export at the destination.

    Raises:
        RunFolderError: The folder holds no finished run.
        ExportError: The checkpoint of the run is missing; or see `export`.
    """
    run = RunFolder(Path(folder))
    report = run.read_report()
    if not config.folder:
        raise ExportError("No destination was given.", "Give a folder to write to.")
    destination = expand_path(config.folder)
    checkpoint = run.checkpoint_of(report) if report.checkpoint else None
    protected = (*filter(None, (checkpoint,)), *original_paths(report.config))
    check_destination(destination, run, protected, context, replace=replace)
    # The name may be too long.
    if checkpoint is not None and not os.path.isfile(checkpoint / "config.json"):
        raise ExportError(
            "The checkpoint of this run is no longer in {folder}.",
            "Put it back, or prune again.",
            folder=checkpoint,
        )
    _check_probe(run, report)
    yardstick = None
    check_number_format(config.dtype, report.model)
    like = export_form(config, report.config, report.model)
    with context.stage(Stage.LOAD):
        if checkpoint is not None:
            _check_checkpoint(checkpoint)
        if {config.dtype, like.dtype}.intersection(QUANTIZED):
            yardstick = yardstick_of(report.config, checkpoint, context)
        pruned = result_of(run, report, report.config.model)
        if not report.model.dtype:  # the original is quantized
            loaded = dataclasses.replace(pruned.loaded, stored=None)
            pruned = dataclasses.replace(pruned, loaded=loaded)
    writer = WRITERS.get(like.format)
    is_possible = writer is not None and not writer.unsupported_reason(pruned)
    if is_possible or config.dtype in QUANTIZED:  # no other format holds such numbers
        config = like
    text = None
    if config.dtype in QUANTIZED:
        text = _calibration_of(report.config, pruned.loaded, yardstick, context)
    job = ExportJob(pruned, report, run, config, destination, text, replace, yardstick)
    exported = export(job, context)
    context.record(run, exported)
    return exported


def _check_checkpoint(folder: Path) -> None:
    """Check that a checkpoint is as it was written, by its marker."""
    hint = say("Put back the file as it was, or prune again.")
    try:
        found = differences(folder)
    except UnreadableFileError as error:
        raise ExportError(error.message, hint) from error
    read = {stamp.name for stamp in stamps_of(ModelSource(folder.name, folder))}
    added = read.intersection(found.added)
    if names := sorted({*found.changed, *found.missing, *added}):
        raise ExportError(
            "The checkpoint in {folder} is no longer as it was written: {names}.",
            hint,
            folder=folder,
            names=name_list(names),
        )


def _check_probe(run: RunFolder, report: Report) -> None:
    """Check the figures of the pruned model, by which exports are verified."""
    try:
        is_same = report.probe is not None and report.probe.is_in(run.probe_path)
    except UnreadableFileError:
        is_same = False
    if not is_same:
        raise ExportError(
            "{path}, which is needed to verify exports, is missing or damaged.",
            "The pruned model is in {folder}.",
            path=run.probe_path,
            folder=run.result_of(report),
        )


def _calibration_of(
    config: RunConfig,
    loaded: LoadedModel,
    yardstick: Yardstick | None,
    context: RunContext,
) -> Calibration | None:
    """Return the calibration text of a run; warn and return None if it is gone."""
    calibration = config.calibration
    windows = None if yardstick is None else yardstick.calibration
    try:
        if windows is None:
            windows = load_windows(calibration, loaded).calibration
    except EngineError as error:
        context.warn(
            "{error} The weights are rounded without the calibration text, which "
            "makes the file less accurate.",
            error=error,
        )
        return None
    return Calibration(windows, calibration.batch, calibration.text)


def write_unverified(job: ExportJob, context: RunContext) -> None:
    """Write a checkpoint for transformers without verifying it.

    Raises:
        ExportError: The checkpoint cannot be written.
    """
    file_format = resolve_format(Format.AUTOMATIC, job.pruned)
    with write_checkpoint_at(job.destination, context, replace=True) as folder:
        WRITERS[file_format].write(job.pruned, ExportConfig(), folder)
        source = job.pruned.loaded.source
        data = card_data(source.name, job.report, file_format, provenance_of(source))
        (folder / CARD).write_text(f"---\n{data}\n---\n", encoding="utf-8")


def _verify(
    job: ExportJob,
    file_format: Format,
    folder: Path,
    expected_perplexity: float,
    context: RunContext,
) -> VerificationResult:
    """Verify the files in `folder`; move them to the run's folder if that fails."""
    loaded, probe = job.pruned.loaded, job.run.probe_path
    dtypes = (
        named_dtype(job.config.dtype, loaded),
        FileDtype(devices.name_of(loaded.model.dtype)),
    )
    tolerance = tolerance_of(dtypes, has_experts=has_experts(loaded.model))
    try:
        check = context.raise_if_cancelled
        result = WRITERS[file_format].verify(folder, probe, check)
        if mismatch := describe_mismatch(result, tolerance, expected_perplexity):
            hint = say("Please report this with the name of the model.")
            if FileDtype.FLOAT16 in dtypes and result.largest_difference is None:
                hint = say(
                    "Numbers inside this model are too large for float16: choose "
                    "bfloat16."
                )
            raise ExportError(mismatch, hint)
    except ExportError as error:
        kept = job.run.keep_unverified(folder)
        hint = say_all(
            error.hint, say("The files are kept, unverified, in {kept}.", kept=kept)
        )
        raise ExportError(error.message, hint) from error
    if tolerance.max_divergence is not None:
        return result
    # The logits have judged it: its KL says nothing more.
    return msgspec.structs.replace(result, saving_divergence=None)


def _weight_bytes(folder: Path) -> int:
    """Return the size of the files that hold weights, without the pruning plan."""
    return sum(
        path.stat().st_size
        for pattern in ("model*.safetensors", GGUF_FILE)
        for path in folder.glob(pattern)
    )
