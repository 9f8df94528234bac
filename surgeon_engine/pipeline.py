"""The main path: from a config to a pruned, exported checkpoint.

    model, layers -> calibration and validation windows -> baseline
      -> per shot: curvature, costs -> one threshold -> update -> evaluation
      -> export, verification -> report

Stages are called by name and do the work; this file does no maths.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from surgeon_engine import devices
from surgeon_engine.calibration.windows import (
    TokenWindows,
    load_windows,
    vocabulary_of,
)
from surgeon_engine.config import RunConfig
from surgeon_engine.curvature.collect import (
    Measurement,
    batches_to_do,
    block_factors,
)
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.errors import ExportError
from surgeon_engine.evaluation.perplexity import evaluate
from surgeon_engine.events import (
    BaselineEvaluated,
    Evaluation,
    Exported,
    LayerSparsity,
    Level,
    Logged,
    RunFinished,
    RunStarted,
    ShotFinished,
    Stage,
)
from surgeon_engine.export.checkpoint import (
    Recipe,
    check_destination,
    check_room,
    checkpoint_at,
    save_probe,
    verify,
    write_masked,
)
from surgeon_engine.libraries import versions
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.pruning.schedule import target_sparsity
from surgeon_engine.pruning.structures import Unit, units_of
from surgeon_engine.pruning.threshold import Removals, cheapest
from surgeon_engine.run_folder import Report, RunFolder
from surgeon_engine.session import Session


@dataclass(slots=True, eq=False)
class Patient:
    """The model under the knife: its parts, and what has gone so far."""

    loaded: LoadedModel
    windows: TokenWindows
    units: tuple[Unit, ...]
    gone: dict[str, Tensor]  # unit -> candidates, bool

    @property
    def prunable(self) -> int:
        """Weights that the model had to choose from."""
        return sum(layer.weights for layer in self.loaded.layers)


def prune(config: RunConfig, folder: Path, session: Session) -> None:
    """Prune a model in shots, export and verify it, write the report.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled.
    """
    run = RunFolder(folder)
    check_destination(run.export_path(config), run.path)
    run.create(config)
    session.log, session.started = run, time.monotonic()
    devices.forget_peak_memory()

    patient = _prepare(config, run, session)
    session.emit(_run_started(config, run, patient))
    baseline = _evaluation(patient, config, session, Stage.BASELINE)
    session.emit(BaselineEvaluated(baseline))

    shots: list[ShotFinished] = []
    for shot in range(1, config.pruning.shots + 1):
        shots.append(_shot(patient, config, session, shot))
        session.emit(shots[-1])
        if session.stops_after_shot:
            break

    recipe = Recipe(config, baseline, tuple(shots))
    export = _export(patient, recipe, run, session)
    session.emit(export)
    report = _report(patient, recipe, export, session)
    run.write_report(report)
    session.emit(
        RunFinished(report.stopped_early, report.seconds, report.peak_memory_bytes)
    )


def _prepare(config: RunConfig, run: RunFolder, session: Session) -> Patient:
    """Load the model and the text, and divide the model into what can be removed."""
    with session.stage(Stage.LOAD):
        loaded = load_model(config.model)
        units = units_of(config.pruning.structure, loaded.blocks, loaded.layers)
        check_room(run.export_path(config), loaded.model)
    if loaded.tokenizer is None:
        words = "There is no tokenizer beside the weights: the export has none either."
        session.emit(Logged(Level.WARNING, words))
    with session.stage(Stage.TEXT):
        vocabulary = vocabulary_of(loaded.model.config)
        windows = load_windows(config.calibration, loaded.tokenizer, vocabulary)
    gone = {
        unit.measured.name: torch.zeros(unit.candidates, dtype=torch.bool)
        for unit in units
    }
    return Patient(loaded, windows, units, gone)


def _shot(
    patient: Patient, config: RunConfig, session: Session, shot: int
) -> ShotFinished:
    """One round of curvature, costs, threshold and update."""
    begun = time.monotonic()
    pruning = config.pruning
    target = target_sparsity(shot, pruning.shots, pruning.sparsity, pruning.schedule)
    factors, removals = _measure(patient, config, session, shot)

    with session.stage(Stage.SELECTION, shot):
        selection = cheapest(removals, budget=int(target * patient.prunable))

    with session.stage(Stage.UPDATE, shot, len(patient.units)) as step:
        for unit in patient.units:
            name = unit.measured.name
            changed = unit.updated(
                factors.pop(name),  # memory falls as the update goes on
                patient.gone[name],
                selection.removed[name],
                pruning,
            )
            for layer, W in changed:
                layer.write(W)
            step()
        patient.gone = selection.removed

    layers = _layer_sparsities(patient)
    return ShotFinished(
        shot=shot,
        target=target,
        sparsity=selection.weights / patient.prunable,
        threshold=selection.threshold,
        parameters=_parameters(patient.loaded) - selection.weights,
        evaluation=_evaluation(patient, config, session, Stage.EVALUATION, shot),
        layers=layers,
        seconds=time.monotonic() - begun,
    )


def _measure(
    patient: Patient, config: RunConfig, session: Session, shot: int
) -> tuple[dict[str, KroneckerFactors], dict[str, Removals]]:
    """The factors of every unit, and what may go of it, in the order of the units."""
    task = Measurement(
        patient.loaded.model,
        patient.loaded.blocks,
        [unit.measured for unit in patient.units],
        patient.windows.calibration,
        config.calibration.batch,
    )
    by_name = {unit.measured.name: unit for unit in patient.units}
    factors: dict[str, KroneckerFactors] = {}
    removals: dict[str, Removals] = {}
    steps = batches_to_do(len(task.windows), task.batch, len(task.blocks))
    with session.stage(Stage.CURVATURE, shot, steps) as step:
        for measured in block_factors(task, step):
            for name, pair in measured.items():
                removals[name] = by_name[name].removals(
                    pair, patient.gone[name], config.pruning
                )
            factors |= measured
    return factors, {name: removals[name] for name in by_name}


def _evaluation(
    patient: Patient, config: RunConfig, session: Session, stage: Stage, shot: int = 0
) -> Evaluation:
    windows, batch = patient.windows.validation, config.calibration.batch
    with session.stage(stage, shot, -(-len(windows) // batch)) as step:
        return evaluate(
            patient.loaded.model, windows, batch, patient.windows.text, step
        )


def _export(
    patient: Patient, recipe: Recipe, run: RunFolder, session: Session
) -> Exported:
    destination = run.export_path(recipe.config)
    with checkpoint_at(destination) as folder:
        with session.stage(Stage.EXPORT):
            save_probe(patient.loaded, patient.windows.validation, run.probe_path)
            write_masked(patient.loaded, recipe, folder)
        with session.stage(Stage.VERIFICATION):
            exported = _verified(folder, run, session)
    return msgspec.structs.replace(exported, folder=str(destination))


def _verified(checkpoint: Path, run: RunFolder, session: Session) -> Exported:
    """What a check found; a checkpoint that fails is kept, but never called done."""
    try:
        return verify(checkpoint, run.probe_path, session.check)
    except ExportError as error:
        kept = run.keep_unverified(checkpoint)
        raise ExportError(
            error.message, f"{error.hint} The files are kept, unchecked, in {kept}."
        ) from error


def _layer_sparsities(patient: Patient) -> tuple[LayerSparsity, ...]:
    removed = {
        layer.name: count
        for unit in patient.units
        for layer, count in unit.removed_weights(patient.gone[unit.measured.name])
    }
    return tuple(
        LayerSparsity(
            layer.name,
            layer.block,
            layer.kind,
            layer.weights,
            removed.get(layer.name, 0),
        )
        for layer in patient.loaded.layers
    )


def _parameters(loaded: LoadedModel) -> int:
    return sum(parameter.numel() for parameter in loaded.model.parameters())


def _run_started(config: RunConfig, run: RunFolder, patient: Patient) -> RunStarted:
    loaded, windows = patient.loaded, patient.windows
    return RunStarted(
        folder=str(run.path),
        shots=config.pruning.shots,
        model=describe(loaded.model, loaded.source),
        device=devices.in_words(loaded.device),
        calibration_tokens=windows.calibration.numel(),
        validation_tokens=windows.validation.numel(),
    )


def _report(
    patient: Patient, recipe: Recipe, export: Exported, session: Session
) -> Report:
    loaded = patient.loaded
    return Report(
        config=recipe.config,
        model=describe(loaded.model, loaded.source),
        versions=versions(),
        device=devices.in_words(loaded.device),
        baseline=recipe.baseline,
        shots=recipe.shots,
        exported=export,
        stopped_early=len(recipe.shots) < recipe.config.pruning.shots,
        seconds=time.monotonic() - session.started,
        seconds_of_stages=dict(session.seconds_of_stages),
        peak_memory_bytes=devices.peak_memory(loaded.device),
    )
