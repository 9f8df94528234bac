"""The main path: from a config to a pruned, exported checkpoint.

    model, layers -> calibration and validation windows -> baseline
      -> per shot: curvature, costs -> one threshold -> update -> evaluation
      -> correction, if asked for
      -> export, verification -> report

Stages are called by name and do the work; this file does no maths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from surgeon_engine import devices
from surgeon_engine.bounds import refuse_out_of_bounds
from surgeon_engine.calibration.windows import load_windows, vocabulary_of
from surgeon_engine.config import ExportConfig, RunConfig
from surgeon_engine.errors import EngineError, ExportError
from surgeon_engine.events import (
    BaselineEvaluated,
    Corrected,
    Evaluation,
    Exported,
    Level,
    Logged,
    RunFinished,
    RunStarted,
    ShotFinished,
    Stage,
)
from surgeon_engine.export.destination import check_destination
from surgeon_engine.export.exporting import (
    Task,
    check_format,
    export,
    keep,
    model_paths,
)
from surgeon_engine.export.model_card import Recipe
from surgeon_engine.export.probe import save_probe
from surgeon_engine.forecast import refuse_what_cannot_fit
from surgeon_engine.formats import FOR_TRANSFORMERS
from surgeon_engine.libraries import versions
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import first_line
from surgeon_engine.pruning.schedule import share_of_goal
from surgeon_engine.pruning.structures import units_of
from surgeon_engine.run_folder import Report, RunFolder
from surgeon_engine.session import Session
from surgeon_engine.shots import shrinking
from surgeon_engine.shots.correction import correct
from surgeon_engine.shots.patient import Patient
from surgeon_engine.shots.quality_budget import QualityBudget, Rescue, Snapshot
from surgeon_engine.shots.refusals import tell_what_is_missing
from surgeon_engine.shots.shot import Round, check_windows, evaluation, run_shot
from surgeon_engine.sizes import file_dtype, goal_of

_FAILURES = (EngineError, MemoryError, RuntimeError)
_FINEST = 8  # parts into which a quality budget may divide the step of a shot


def prune(config: RunConfig, folder: Path, session: Session) -> None:
    """Prune a model in shots, export and verify it, write the report.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled.
    """
    config.refuse_contradictions()
    run, device = RunFolder(folder), devices.choose(config.model.device)
    destination = run.export_path(config)
    replace = config.export.replace
    check_destination(destination, run, model_paths(config), replace=replace)
    refuse_what_cannot_fit(config, run.path)
    run.create(config)
    session.begin(run, lambda: devices.memory_in_use(device))
    devices.forget_peak_memory()

    patient = prepare(config, session)
    check_format(config, patient.original, patient.loaded, patient.units, session)
    session.emit(_run_started(run, patient))
    baseline = evaluation(patient, session, Stage.BASELINE)
    session.emit(BaselineEvaluated(baseline))

    allowed = QualityBudget.of(config.pruning, baseline)
    shots, corrected = _shots(patient, allowed, session)
    if config.pruning.is_corrected and corrected is None:
        corrected = _corrected(patient, allowed, session)
    recipe = Recipe(config, patient.goal, baseline, tuple(shots), corrected)
    report = _finish(patient, recipe, run, session)
    session.emit(
        RunFinished(report.stopped_early, report.seconds, report.peak_memory_bytes)
    )


def prepare(config: RunConfig, session: Session) -> Patient:
    """Load the model and the text, and divide the model into what can be removed.

    Raises:
        EngineError: something that the user can act on.
    """
    with session.stage(Stage.LOAD):
        loaded = load_model(config.model)
        model = describe(loaded.model, loaded.source, loaded.stored)
        units = units_of(config.pruning, loaded.model)
        goal = goal_of(config.pruning, model, file_dtype(config, model))
        refuse_out_of_bounds(goal, config.pruning, model)
    if loaded.tokenizer is None:
        words = "There is no tokenizer beside the weights: the export has none either."
        session.emit(Logged(Level.WARNING, words))
    with session.stage(Stage.TEXT):
        vocabulary = vocabulary_of(loaded.model.config)
        windows = load_windows(config.calibration, loaded.tokenizer, vocabulary)
    if windows.found.left_out:
        session.emit(Logged(Level.INFO, windows.found.left_out))
    check_windows(config.pruning, windows.calibration, session)
    gone = {
        unit.measured.name: torch.zeros(unit.candidates, dtype=torch.bool)
        for unit in units
    }
    return Patient(config, loaded, windows, units, goal, model, gone)


def _shots(
    patient: Patient, allowed: QualityBudget, session: Session
) -> tuple[list[ShotFinished], Corrected | None]:
    """Shot after shot until the goal is reached, or the quality budget is spent.

    A shot that passes the budget, with the correction too where there is one, is undone
    and tried again with half the step; what was undone once is not asked for again.
    Without a budget a shot that fails ends them. Gives the correction if the last shot
    needs it.

    Raises:
        PruningError: nothing at all can be removed within the budget or the target.
        EngineError: not even the smallest step, or the first shot, can be measured.
    """
    pruning = patient.config.pruning
    shots: list[ShotFinished] = []
    rescue: Rescue | None = None  # of the last shot
    tried = _Try()
    done, step, all_of_it = 0, _FINEST, pruning.shots * _FINEST
    too_much = math.inf  # parts: what was undone
    while done < all_of_it and step > 0 and not (shots and session.stops_after_shot):
        step = min(step, all_of_it - done)
        share = share_of_goal((done + step) / all_of_it, pruning.schedule)
        last = shots[-1].damping if shots else None
        tried = _try_shot(patient, Round(len(shots) + 1, share, last), allowed, session)
        if tried.shot is None:
            if not allowed.is_set:
                break
            too_much = done + step
            step //= 2
            continue
        done += step
        while step > 0 and done + step >= too_much:
            step //= 2
        rescue = tried.rescue
        shots.append(tried.shot)
        session.emit(tried.shot)
        if rescue is None:
            shrinking.shrink(patient)
        else:
            session.emit(allowed.what_is_rescued(tried.shot, rescue.corrected))
    if not shots or (step == 0 and shots[-1].sparsity == 0):
        raise tried.failure or allowed.refusal()
    if tried.failure is not None and not allowed.is_set:
        words = f"The run ends after shot {len(shots)} of {pruning.shots}."
        session.emit(Logged(Level.WARNING, f"{words} {_words_of(tried.failure)}"))
    if allowed.is_set and done == all_of_it:
        session.emit(allowed.what_is_left(shots[-1]))
    tell_what_is_missing(patient.goal, shots[-1], session, is_over=done == all_of_it)
    if rescue is None:
        return shots, None
    rescue.snapshot.restore()
    session.emit(rescue.corrected)
    return shots, rescue.corrected


@dataclass(frozen=True, slots=True)
class _Try:
    """What became of a shot."""

    shot: ShotFinished | None = None  # None: it is undone
    rescue: Rescue | None = None  # None: it needs none
    failure: Exception | None = None


def _try_shot(
    patient: Patient, this: Round, allowed: QualityBudget, session: Session
) -> _Try:
    """A shot, which is undone if it passes the quality budget, or fails.

    Without a budget there is nothing to undo it by: one that fails before it has
    written a weight has at least spoilt nothing.

    Raises:
        EngineError: it fails; there is no budget, and no shot before to keep.
    """
    before = Snapshot(patient) if allowed.is_set else None
    failure: Exception | None = None
    try:
        shot = run_shot(patient, this, session)
        judged, rescue = _judged(patient, shot, allowed, session)
    except _FAILURES as error:
        words = _words_of(error)
        if before is None and (this.number == 1 or patient.is_cut_open):
            raise
        failure = error.with_traceback(None)  # whose frames hold what there was
    if failure is not None:
        devices.give_memory_back()
        if before is not None:
            before.restore()
            session.emit(Logged(Level.INFO, f"A shot is undone. {words}"))
        return _Try(failure=failure)
    if before is not None and allowed.is_passed(judged):
        before.restore()
        session.emit(allowed.what_passed(shot, judged))
        return _Try()
    return _Try(shot, rescue)


def _judged(
    patient: Patient, shot: ShotFinished, allowed: QualityBudget, session: Session
) -> tuple[Evaluation, Rescue | None]:
    """By what a shot is measured against the budget: itself, or what it may become.

    The patient is left as the shot has left it.
    """
    passes = allowed.is_passed(shot.evaluation)
    if not passes or not patient.config.pruning.is_corrected:
        return shot.evaluation, None
    uncorrected = Snapshot(patient)
    corrected = _take_steps(patient, session, shot.shot)
    rescue = Rescue(corrected, Snapshot(patient))
    uncorrected.restore()
    return corrected.evaluation, rescue


def _corrected(
    patient: Patient, allowed: QualityBudget, session: Session
) -> Corrected | None:
    """The correction of the last shot; None: it is undone.

    That is where it would pass the quality budget, or fails: the shots are all done,
    and nothing that comes after them may lose them.
    """
    before, corrected, words = None, None, ""
    try:
        before = Snapshot(patient)
        corrected = _take_steps(patient, session)
    except _FAILURES as error:
        words = _words_of(error)
    if before is None or corrected is None:
        devices.give_memory_back()
        if before is not None:
            before.restore()
        session.emit(Logged(Level.WARNING, f"The correction is undone. {words}"))
        return None
    if allowed.is_passed(corrected.evaluation):
        before.restore()
        session.emit(allowed.what_the_correction_passed(corrected.evaluation))
        return None
    session.emit(corrected)
    return corrected


def _words_of(error: Exception) -> str:
    """What to tell of a failure that ends less than the run.

    Raises:
        Exception: the error itself, where it is none that anybody foresees.
    """
    if isinstance(error, EngineError):
        return error.message
    if devices.is_out_of_memory(error):
        return "There is not enough memory for it."
    raise error


def _take_steps(patient: Patient, session: Session, shot: int = 0) -> Corrected:
    """Steps along the gradient, and what the validation windows say of them."""
    begun = session.clock()
    steps = correct(patient, session, shot)
    return Corrected(
        steps.lengths,
        steps.loss_before,
        steps.loss_after,
        evaluation(patient, session, Stage.EVALUATION, shot),
        session.clock() - begun,
    )


def _finish(
    patient: Patient, recipe: Recipe, run: RunFolder, session: Session
) -> Report:
    """Export, and put into the report whatever came of it.

    Raises:
        ExportError: what was asked for could not be had; but what was pruned is kept.
    """
    wanted, destination = recipe.config.export, run.export_path(recipe.config)
    pruned = shrinking.pruned(patient)
    checkpoint = destination
    try:
        save_probe(patient.loaded, patient.windows.validation, run.probe_path)
        if wanted.format not in FOR_TRANSFORMERS:
            # Nothing else can be made of other programs' files.
            task = Task(pruned, recipe, run, ExportConfig(), run.checkpoint_path)
            session.emit(export(task, session))
            checkpoint = run.checkpoint_path
        exported = export(Task(pruned, recipe, run, wanted, destination), session)
    except (EngineError, OSError, MemoryError, RuntimeError) as error:
        if not run.checkpoint_path.exists():
            keep(Task(pruned, recipe, run, wanted, run.checkpoint_path))
        kept = run.checkpoint_path
        run.write_report(_report(patient, recipe, None, kept, session))
        message, hint = f"The export failed: {first_line(error)}.", ""
        if isinstance(error, EngineError):
            message, hint = error.message, error.hint
        raise ExportError(
            message,
            f"{hint} What was pruned is not lost: it can be exported again from "
            f"{run.path}.".strip(),
        ) from error
    session.emit(exported)
    report = _report(patient, recipe, exported, checkpoint, session)
    run.write_report(report)
    return report


def _run_started(run: RunFolder, patient: Patient) -> RunStarted:
    windows = patient.windows
    return RunStarted(
        folder=str(run.path),
        shots=patient.config.pruning.shots,
        model=patient.original,
        device=devices.in_words(patient.loaded.device),
        calibration_tokens=windows.calibration.numel(),
        validation_tokens=windows.validation.numel(),
    )


def _report(
    patient: Patient,
    recipe: Recipe,
    exported: Exported | None,
    checkpoint: Path,
    session: Session,
) -> Report:
    device = patient.loaded.device
    is_short = recipe.shots[-1].target < patient.goal.sparsity
    has_budget = recipe.config.pruning.perplexity_rise > 0
    return Report(
        config=recipe.config,
        model=patient.original,
        versions=versions(),
        device=devices.in_words(device),
        baseline=recipe.baseline,
        shots=recipe.shots,
        corrected=recipe.corrected,
        exported=exported,
        checkpoint=str(checkpoint),
        stopped_early=is_short and (session.stops_after_shot or not has_budget),
        seconds=session.seconds,
        seconds_of_stages=dict(session.seconds_of_stages),
        peak_memory_bytes=devices.peak_memory(device),
    )
