"""A pruned model in, a verified export on disk out; nothing or all of it.

The way of one export:

    choose a form -> forecast, room -> write beside the destination
      -> load it in a fresh process, compare -> model card -> final name
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from surgeon_engine.api.config.export import (
    DESCRIPTIONS,
    ExportConfig,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.pruning import COUPLED, FileSize, PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.errors import ExportError
from surgeon_engine.api.files import expanded
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import Exported, FormatSupport, Stage
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.model_info.header import own_path
from surgeon_engine.api.planning.limits import some_keep_full_width
from surgeon_engine.api.planning.resource_check import format_bytes
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.compaction.plan import PrunedModel, plan_of
from surgeon_engine.compaction.restore import restore
from surgeon_engine.export.base import VerificationResult, Writer
from surgeon_engine.export.destination import (
    check_destination,
    check_room,
    checkpoint_at,
)
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.export.model_card import Recipe, model_card
from surgeon_engine.export.onnx.file import OnnxWriter
from surgeon_engine.export.transformers.files import (
    CompactWriter,
    MaskedWriter,
    StockWriter,
)
from surgeon_engine.export.transformers.plain_widths import check_plain_widths
from surgeon_engine.export.transformers.weight_files import named_dtype
from surgeon_engine.export.verify import disagreement, expected_perplexity
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext

WRITERS: dict[Format, Writer] = {
    Format.COMPACT: CompactWriter(),
    Format.STOCK: StockWriter(),
    Format.MASKED: MaskedWriter(),
    Format.GGUF: GgufWriter(),
    Format.ONNX: OnnxWriter(),
}
# Of those that transformers loads.
_SMALLEST_FIRST = (Format.STOCK, Format.COMPACT, Format.MASKED)


@dataclass(frozen=True, slots=True, eq=False)
class ExportJob:
    """What is exported, by which recipe it was made, and where to."""

    pruned: PrunedModel
    recipe: Recipe
    run: RunFolder
    wanted: ExportConfig
    destination: Path


def offered(pruned: PrunedModel) -> tuple[FormatSupport, ...]:
    """In which forms a pruned model can be written, and why not in the others."""
    return tuple(
        FormatSupport(form, writer.unsupported_reason(pruned))
        for form, writer in WRITERS.items()
    )


def chosen_format(wanted: Format, pruned: PrunedModel) -> Format:
    """The form that is asked for, or the smallest that transformers loads.

    Raises:
        ExportError: this model cannot be written like that.
    """
    if wanted is Format.AUTOMATIC:
        fit = (f for f in _SMALLEST_FIRST if not WRITERS[f].unsupported_reason(pruned))
        return next(fit)
    reason = WRITERS[wanted].unsupported_reason(pruned)
    if reason:
        possible = [f.format for f in offered(pruned) if not f.reason]
        raise ExportError(
            f"{DESCRIPTIONS[wanted].label} is not possible here. {reason}",
            f"Choose one of: {', '.join(possible)}.",
        )
    return wanted


def check_format(
    config: RunConfig,
    model: ModelSummary,
    loaded: LoadedModel,
    units: Sequence[Unit],
    context: RunContext,
) -> None:
    """Refuse, before the work begins, a form in which its result could not be written.

    What may come out so, or not, is told.

    Raises:
        ExportError: no such result can; with a sentence.
    """
    wanted, pruning = config.export.format, config.pruning
    is_ragged = pruning.kind in COUPLED and not pruning.has_same_widths
    if wanted is Format.STOCK and is_ragged:
        raise ExportError(
            "Plain files need the same widths in every layer.",
            'Set widths to "same", or choose the compact format.',
        )
    if wanted is Format.STOCK and pruning.has_same_widths:
        if some_keep_full_width(pruning, model):
            raise ExportError(
                "Plain files need the same widths in every layer, but some layers are "
                "protected and others of their kind are not.",
                "Protect whole kinds of layer or none, or choose the compact format.",
            )
        if told := check_plain_widths(loaded, units):
            context.emit(told)
        return
    example = {}
    for unit in units:  # one candidate of each: the same widths everywhere
        removed = torch.zeros(unit.candidates, dtype=torch.bool)
        removed[0] = True
        example[unit.measured.name] = removed
    pruned = PrunedModel(loaded, plan_of(units, example))
    form = chosen_format(wanted, pruned)
    if wanted is Format.AUTOMATIC and (is_ragged or form is Format.MASKED):
        _log_full_size(pruned, pruning, context)


def _log_full_size(
    pruned: PrunedModel, pruning: PruningConfig, context: RunContext
) -> None:
    """Say why the file will be no smaller, where something goes as a whole.

    Raises:
        ExportError: a smaller file is what was asked for.
    """
    reason = WRITERS[Format.COMPACT].unsupported_reason(pruned)
    if not reason or pruned.plan.is_empty:  # of single weights nobody expects it
        return
    words = f"The file would be as large as the original's. {reason}"
    if isinstance(pruning.target, FileSize):
        raise ExportError(words, "Choose another target, or another structure.")
    context.emit(Logged(Level.WARNING, words))


def export(task: ExportJob, context: RunContext) -> Exported:
    """Write and verify a pruned model.

    Raises:
        ExportError: it cannot be written, or what was written does not load or computes
            something else; then its files are kept, unchecked, in the run's folder.
    """
    pruned, wanted, destination = task.pruned, task.wanted, task.destination
    form = chosen_format(wanted.format, pruned)
    writer = WRITERS[form]
    forecast = writer.forecast(pruned, wanted.dtype)
    check_room(destination, forecast)
    words = f"{DESCRIPTIONS[form].label}: the file will take {format_bytes(forecast)}."
    context.emit(Logged(Level.INFO, words))
    with checkpoint_at(destination, replace=wanted.replace) as folder:
        with context.stage(Stage.EXPORT):
            writer.write(pruned, wanted, folder)
            weight_bytes = _weight_bytes(folder)
            toml = config_to_toml(task.recipe.config)
            (folder / "run.toml").write_text(toml, encoding="utf-8")
        with context.stage(Stage.VERIFICATION):
            result = _verdict(task, form, folder, context)
        exported = Exported(
            folder=str(destination),
            bytes=_bytes(folder),
            tokens_compared=result.tokens,
            largest_difference=result.largest_difference or 0.0,
            format=form,
            dtype=named_dtype(form, wanted.dtype, pruned.loaded),
            weight_bytes=weight_bytes,
            forecast_bytes=forecast,
            agreement=result.agreement,
            perplexity=result.perplexity,
            expected_perplexity=expected_perplexity(task.run.probe_path),
            checked_with=result.checked_with,
            others=offered(pruned),
        )
        card = model_card(pruned.loaded.source.name, task.recipe, exported)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return msgspec.structs.replace(exported, bytes=_bytes(destination))


def export_again(folder: str, wanted: ExportConfig, context: RunContext) -> Exported:
    """Write the model of the finished run in `folder` once more, in another form.

    Raises:
        RunFolderError: there is no finished run.
        ExportError: see `export`; or its checkpoint is no longer there.
    """
    run = RunFolder(Path(folder))
    report = run.read_report()
    if not wanted.folder:
        raise ExportError("No destination was given.", "Give a folder to write to.")
    destination = expanded(wanted.folder)
    checkpoint = run.checkpoint_of(report)
    precious = (checkpoint, *model_paths(report.config))
    check_destination(destination, run, precious, replace=wanted.replace)
    if not (checkpoint / "config.json").is_file():
        raise ExportError(
            f"The checkpoint of this run is no longer in {checkpoint}.",
            "Put it back, or prune again.",
        )
    if not run.probe_path.is_file():
        raise ExportError(
            f"{run.probe_path}, by which exports are checked, is not there.",
            f"What was pruned is in {checkpoint}.",
        )
    with context.stage(Stage.LOAD):
        pruned = restore(checkpoint, report.model.name)
    recipe = Recipe.of(report)
    return export(ExportJob(pruned, recipe, run, wanted, destination), context)


def keep(task: ExportJob) -> None:
    """Write what an export is made of, without checking it: it is all there is.

    Raises:
        ExportError: it cannot be written.
    """
    form = chosen_format(Format.AUTOMATIC, task.pruned)
    with checkpoint_at(task.destination, replace=True) as folder:
        WRITERS[form].write(task.pruned, ExportConfig(), folder)


def model_paths(config: RunConfig) -> tuple[Path, ...]:
    """Where the original model is, if it is not the demo."""
    path = own_path(config.model.source)
    return () if path is None else (path,)


def _verdict(
    task: ExportJob, form: Format, folder: Path, context: RunContext
) -> VerificationResult:
    """What a fresh process says; files of which it is nothing good are set aside."""
    loaded, probe = task.pruned.loaded, task.run.probe_path
    dtypes = (
        named_dtype(form, task.wanted.dtype, loaded),
        FileDtype(devices.name_of(loaded.model.dtype)),
    )
    try:
        result = WRITERS[form].verify(folder, probe, context.check)
        problem = disagreement(result, dtypes, expected_perplexity(probe))
        if problem:
            hint = "Please report this with the name of the model."
            raise ExportError(problem, hint)
    except ExportError as error:
        kept = task.run.keep_unverified(folder)
        hint = f"{error.hint} The files are kept, unchecked, in {kept}.".strip()
        raise ExportError(error.message, hint) from error
    return result


def _weight_bytes(folder: Path) -> int:
    """The files that hold weights; a plan beside them does not count."""
    return sum(
        path.stat().st_size
        for pattern in ("model*.safetensors", "model.gguf", "model.onnx*")
        for path in folder.glob(pattern)
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
