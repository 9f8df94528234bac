"""The main path: from a config to a pruned, exported checkpoint.

    model, layers -> calibration and validation windows -> baseline
      -> per shot: curvature, costs -> one threshold -> update -> evaluation
      -> correction, if asked for
      -> export, verification -> report

Stages are called by name and do the work; this file does no maths.
"""

from __future__ import annotations

from pathlib import Path

import torch

from surgeon_engine.api.config.export import FOR_TRANSFORMERS, ExportConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import EngineError, ExportError
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    RunFinished,
    RunStarted,
    Stage,
)
from surgeon_engine.api.planning.limits import check_target_in_limits
from surgeon_engine.api.planning.target_size import file_dtype, goal_of
from surgeon_engine.api.run_folder import Report, RunFolder
from surgeon_engine.calibration.windows import load_windows, vocabulary_of
from surgeon_engine.export.destination import check_destination
from surgeon_engine.export.export import (
    ExportJob,
    export,
    original_paths,
    write_unverified,
)
from surgeon_engine.export.formats import check_format
from surgeon_engine.export.model_card import Recipe
from surgeon_engine.export.verify import save_probe
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import first_line
from surgeon_engine.preflight import check_fits
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunCancelled, RunContext
from surgeon_engine.runtime.versions import versions
from surgeon_engine.shots import compaction_step as shrinking
from surgeon_engine.shots.loop import run_shots
from surgeon_engine.shots.quality_budget import QualityBudget
from surgeon_engine.shots.shot import check_windows, evaluation

_FORESEEN = (EngineError, OSError, MemoryError, RuntimeError)  # at an export


def prune(config: RunConfig, folder: Path, context: RunContext) -> None:
    """Prune a model in shots, export and verify it, write the report.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled.
    """
    config.check_consistency()
    run, device = RunFolder(folder), devices.choose(config.model.device)
    destination = run.export_path(config)
    replace = config.export.replace
    check_destination(destination, run, original_paths(config), replace=replace)
    check_fits(config, run.path)
    run.create(config)
    context.begin(run, lambda: devices.memory_in_use(device))
    devices.forget_peak_memory()

    state = prepare(config, context)
    check_format(config, state.original, state.loaded, state.units, context)
    context.emit(_run_started(run, state))
    baseline = evaluation(state, context, Stage.BASELINE)
    context.emit(BaselineEvaluated(baseline))

    allowed = QualityBudget.of(config.pruning, baseline)
    course = run_shots(state, allowed, context)
    recipe = Recipe(
        config,
        state.goal,
        baseline,
        course.shots,
        course.corrected,
        course.stopped_early,
    )
    report = _finish(state, recipe, run, context)
    context.emit(
        RunFinished(report.stopped_early, report.seconds, report.peak_memory_bytes)
    )


def prepare(config: RunConfig, context: RunContext) -> PruningState:
    """Load the model and the text, and divide the model into what can be removed.

    Raises:
        EngineError: something that the user can act on.
    """
    with context.stage(Stage.LOAD):
        loaded = load_model(config.model)
        model = describe(loaded.model, loaded.source, loaded.stored)
        units = units_of(config.pruning, loaded.model)
        goal = goal_of(config.pruning, model, file_dtype(config, model))
        check_target_in_limits(goal, config.pruning, model)
    if loaded.tokenizer is None:
        words = "There is no tokenizer beside the weights: the export has none either."
        context.emit(Logged(Level.WARNING, words))
    with context.stage(Stage.TEXT):
        vocabulary = vocabulary_of(loaded.model.config)
        windows = load_windows(config.calibration, loaded.tokenizer, vocabulary)
    if windows.found.left_out:
        context.emit(Logged(Level.INFO, windows.found.left_out))
    check_windows(config.pruning, windows.calibration, context)
    removed = {
        unit.measured.name: torch.zeros(unit.candidates, dtype=torch.bool)
        for unit in units
    }
    return PruningState(config, loaded, windows, units, goal, model, removed)


def _finish(
    state: PruningState, recipe: Recipe, run: RunFolder, context: RunContext
) -> Report:
    """Export, and put into the report whatever came of it.

    Raises:
        ExportError: what was asked for could not be had; but what was pruned is kept.
    """
    wanted, destination = recipe.config.export, run.export_path(recipe.config)
    pruned = shrinking.pruned(state)
    checkpoint = destination
    try:
        save_probe(state.loaded, state.windows.validation, run.probe_path)
        if wanted.format not in FOR_TRANSFORMERS:
            # Nothing else can be made of other programs' files.
            task = ExportJob(pruned, recipe, run, ExportConfig(), run.checkpoint_path)
            context.emit(export(task, context))
            checkpoint = run.checkpoint_path
        exported = export(ExportJob(pruned, recipe, run, wanted, destination), context)
    except RunCancelled:
        raise
    except Exception as error:  # nothing that was pruned may be lost, whatever it is
        if not run.checkpoint_path.exists():
            write_unverified(
                ExportJob(pruned, recipe, run, wanted, run.checkpoint_path)
            )
        kept = run.checkpoint_path
        run.write_report(_report(state, recipe, None, kept, context))
        if not isinstance(error, _FORESEEN):
            raise
        message, hint = f"The export failed: {first_line(error)}.", ""
        if isinstance(error, EngineError):
            message, hint = error.message, error.hint
        where = f"it is, unchecked, in {kept}"
        if run.probe_path.is_file():
            where = f"it can be exported again from {run.path}"
        hint = f"{hint} What was pruned is not lost: {where}.".strip()
        raise ExportError(message, hint) from error
    context.emit(exported)
    report = _report(state, recipe, exported, checkpoint, context)
    run.write_report(report)
    return report


def _run_started(run: RunFolder, state: PruningState) -> RunStarted:
    windows = state.windows
    return RunStarted(
        folder=str(run.path),
        shots=state.config.pruning.shots,
        model=state.original,
        device=devices.in_words(state.loaded.device),
        calibration_tokens=windows.calibration.numel(),
        validation_tokens=windows.validation.numel(),
    )


def _report(
    state: PruningState,
    recipe: Recipe,
    exported: Exported | None,
    checkpoint: Path,
    context: RunContext,
) -> Report:
    device = state.loaded.device
    return Report(
        config=recipe.config,
        model=state.original,
        versions=versions(),
        device=devices.in_words(device),
        baseline=recipe.baseline,
        shots=recipe.shots,
        corrected=recipe.corrected,
        exported=exported,
        checkpoint=str(checkpoint),
        stopped_early=recipe.stopped_early,
        seconds=context.seconds,
        seconds_of_stages=dict(context.seconds_of_stages),
        peak_memory_bytes=devices.peak_memory(device),
    )
