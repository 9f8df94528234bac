"""The main program: from a config to a pruned and exported checkpoint.

    model, layers -> calibration and validation windows -> baseline
      -> per shot: curvature, costs -> one threshold -> update -> evaluation
      -> recovery, unless it is switched off
      -> export, verification -> report

The stages are called by name and do the work; there is no mathematics here. Processes
that share a run (`runtime/ranks.py`) all do this, in step; the first alone checks the
job, writes files and exports.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from surgeon_engine.api.config.export import FOR_TRANSFORMERS, ExportConfig
from surgeon_engine.api.config.run import Offload, RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Evaluation,
    Exported,
    RunFinished,
    RunResumed,
    RunStarted,
)
from surgeon_engine.api.report import Report
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.saved_state import SavedState
from surgeon_engine.base.errors import (
    ConfigError,
    EngineError,
    ExportError,
    RunCancelled,
    RunFolderError,
    UnreadableFileError,
)
from surgeon_engine.base.reading import read_text
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.calibration.fenced import check_tokens
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.export.base import Calibration
from surgeon_engine.export.destination import check_destination_of
from surgeon_engine.export.export import (
    RECIPE,
    ExportJob,
    export,
    write_unverified,
)
from surgeon_engine.export.file_fidelity import Yardstick
from surgeon_engine.export.formats import check_loaded_format
from surgeon_engine.export.provenance import published
from surgeon_engine.export.verify import save_probe
from surgeon_engine.generation.run_samples import RunSamples
from surgeon_engine.model.identity import check_same, identity_of, stamps_of
from surgeon_engine.model.source import first_line, locate
from surgeon_engine.planning.automatic_settings import with_chosen_multiple
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.run.preflight import Preflight, check_fits, preflight
from surgeon_engine.run.prepare import prepare
from surgeon_engine.runtime import devices, ranks
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.saver import Saver
from surgeon_engine.runtime.versions import versions
from surgeon_engine.shots.compaction_step import full_size_model
from surgeon_engine.shots.loop import PruningResult, run_shots
from surgeon_engine.shots.quality_budget import QualityBudget
from surgeon_engine.shots.resume import check_origin, origin_of
from surgeon_engine.shots.shot import evaluate_original
from surgeon_engine.shots.vocabulary_step import remove_tokens

_EXPORT_FAILURES = (EngineError, OSError, MemoryError, RuntimeError)


def prune(
    config: RunConfig,
    folder: Path,
    context: RunContext,
    *,
    replace: bool = False,
    detached: bool = False,
) -> None:
    """Prune a model in shots, export and verify it, and write the report.

    The folder must not exist or be empty; with `detached`, it is there and locked, and
    stays if the run is refused. With `replace`, a person has allowed to replace an
    export at the destination.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled.
    """
    config.check_consistency()
    run = RunFolder(folder)

    def checked() -> Preflight:
        config.check_gpus(ranks.size())
        if not detached:
            run.check_not_occupied()
        check_destination_of(run, config, context, replace=replace)
        is_timed = config.recovery.minutes > 0
        found = preflight(config, run.path, with_time=is_timed)
        check_fits(found)
        check_tokens(config, found.model)
        return found

    found = ranks.agree(checked)
    settled = found.resources.settled
    entered: Any = nullcontext() if detached else run.created(config)
    refused: Any = nullcontext() if detached else _discarded_if_refused(run, context)
    with _entered(entered):
        with refused:
            _begin(run, settled.config, context)
            for message in settled.messages:
                context.inform(message)
            if left_out := found.model.not_loaded:
                context.warn(left_out.sentence)
            state = prepare(settled.config, context, found)
            check_loaded_format(settled.config, state.loaded, state.units, context)
        if config.export.save_progress:
            saved = SavedState(
                origin_of(state),
                settled.config.recovery,
                settled.config.pruning.width_multiple,
            )
            context.saver = Saver(run.saved_state, saved)
        context.emit(_run_started(run, state, context))
        samples = RunSamples(state, context)
        samples.write(0)
        baseline = evaluate_original(state, context)
        context.emit(BaselineEvaluated(baseline))
        remove_tokens(state, context)
        _prune(state, baseline, run, samples, replace=replace)


def resume(
    folder: Path,
    context: RunContext,
    *,
    replace: bool = False,
    detached: bool = False,
) -> None:
    """Resume an interrupted run from the state that is saved in its folder.

    The result is the same as without the interruption, bit for bit on one machine. With
    `detached`, the folder is locked. With `replace`, a person has allowed to replace an
    export at the destination; one that the run itself has written is replaced anyway.

    Raises:
        RunFolderError: there is no such state, another process works on the run, or the
            text or the settings are no longer the same.
        ModelError: the model is no longer the same.
        EngineError: something else that the user can act on.
        RunCancelled: the user has cancelled.
    """
    run = RunFolder(folder)
    run.check_resumable()
    with _entered(nullcontext() if detached else run.locked()):
        saved, damage = ranks.agree(run.saved_state.read_undamaged)

        def checked() -> tuple[Preflight, bool]:
            config = dataclasses.replace(_config_of(run), recovery=saved.recovery)
            config = with_chosen_multiple(config, saved.width_multiple)
            config.check_gpus(ranks.size())
            # Before libraries read files that may be damaged.
            files = stamps_of(locate(config.model.source))
            check_same(saved.origin.model, identity_of(files))
            freed = run.saved_state.size
            found = preflight(config, run.path, with_time=False, freed=freed)
            config = found.resources.settled.config
            may_replace = replace or _has_exported(run, config)
            check_destination_of(run, config, context, replace=may_replace)
            check_fits(found)
            run.remove_cut_off_line()
            run.judgment_path.unlink(missing_ok=True)  # it judges an earlier file
            return found, may_replace

        found, may_replace = ranks.agree(checked)
        config = found.resources.settled.config
        _begin(run, config, context, saved)

        state = prepare(config, context, found)
        notes = check_origin(saved.origin, origin_of(state))
        context.emit(RunResumed(len(saved.shots), saved.seconds))
        if damage:
            notes = (
                say("{damage} The run goes on from the state before.", damage=damage),
                *notes,
            )
        for note in notes:
            context.warn(note)
        context.saver = Saver(run.saved_state, saved)
        baseline = evaluate_original(state, context)
        remove_tokens(state, context)
        samples = RunSamples(state, context)
        _prune(state, baseline, run, samples, replace=may_replace)


@contextmanager
def _entered(run: AbstractContextManager[None]) -> Iterator[None]:
    """Let the first process alone enter the folder of a run, which they share.

    Raises:
        RunFolderError: it cannot; the others raise the same.
    """
    with ExitStack() as stack:
        ranks.agree(lambda: stack.enter_context(run))
        yield


@contextmanager
def _discarded_if_refused(run: RunFolder, context: RunContext) -> Iterator[None]:
    """Discard the new folder of a run that the block refuses, or that is cancelled."""
    try:
        yield
    except (EngineError, RunCancelled, KeyboardInterrupt):
        context.log = None  # later events are sent, but not logged
        if ranks.is_first():
            run.discard()
        raise


def _config_of(run: RunFolder) -> RunConfig:
    """Return the config that a run was started with."""
    try:
        return run.read_config()
    except EngineError as error:
        raise RunFolderError(
            "The config of the run cannot be read: {error}",
            "Start the run again.",
            error=error,
        ) from error


def _has_exported(run: RunFolder, config: RunConfig) -> bool:
    """Return whether an export of this run itself, from before, is at its destination.

    Whether it is complete and unchanged is checked later, by its marker.
    """
    if not config.export.folder:
        return True
    try:
        recipe = config_from_toml(read_text(run.export_path(config) / RECIPE))
    except (UnreadableFileError, ConfigError):
        return False
    # Its multiple was chosen when the model had been read.
    own = with_chosen_multiple(published(config), recipe.pruning.width_multiple)
    return config_to_toml(own) == config_to_toml(recipe)


def _begin(
    run: RunFolder,
    config: RunConfig,
    context: RunContext,
    saved: SavedState | None = None,
) -> None:
    """Start the clock and the log of a run."""
    device = devices.choose(config.model.device)
    context.begin(run, lambda: devices.memory_in_use(device), saved)
    devices.reset_peak_memory()


def _prune(
    state: PruningState,
    baseline: Evaluation,
    run: RunFolder,
    samples: RunSamples,
    *,
    replace: bool,
) -> None:
    """Run the shots and recovery, export the model and write the report."""
    context = samples.context
    budget = QualityBudget.of(state.config.pruning, baseline)
    result = run_shots(state, budget, context, samples.write)
    if result.recovered is not None:
        samples.write(len(result.shots), is_recovered=True)
    if not ranks.is_first():
        return
    device, offload = state.loaded.device, state.config.model.offload
    yardstick = Yardstick(
        state.references.of_this_process(), device, offloads=offload is Offload.ON
    )
    with ranks.alone():
        report = _report(state, baseline, result)
        report = _finish(state, report, run, context, yardstick, replace=replace)
        if not report.stopped_early:
            context.discard_saved()
    context.emit(
        RunFinished(report.stopped_early, report.seconds, report.peak_memory_bytes)
    )


def _finish(
    state: PruningState,
    report: Report,
    run: RunFolder,
    context: RunContext,
    yardstick: Yardstick,
    *,
    replace: bool,
) -> Report:
    """Export the model, and write and return the report with that.

    If the export fails, the pruned model is kept in the run's folder.
    """
    destination, settings = run.export_path(report.config), report.config.export
    pruned = full_size_model(state)
    checkpoint: Path | None = destination
    probe = None

    def completed(exported: Exported | None) -> Report:
        return msgspec.structs.replace(
            report,
            exported=exported,
            checkpoint="" if checkpoint is None else str(checkpoint),
            probe=probe,
            seconds=context.seconds,
            seconds_of_stages=dict(context.seconds_of_stages),
            peak_memory_bytes=devices.peak_memory(state.loaded.device),
        )

    try:
        _, validation = state.references.texts[0]
        probe = save_probe(state.loaded, validation, run.probe_path)
        if settings.format not in FOR_TRANSFORMERS:
            # The files of other programs cannot be exported again.
            checkpoint = _written_beside(pruned, report, run, context)
        text = state.config.calibration
        calibration = Calibration(state.windows.calibration, text.batch, text.text)
        form = (settings, destination, calibration, replace, yardstick)
        job = ExportJob(pruned, report, run, *form)
        exported = export(job, context)
    except RunCancelled:
        raise
    except Exception as error:  # no failure may lose the pruned model
        checkpoint = run.checkpoint_path
        if not checkpoint.exists():
            job = ExportJob(pruned, report, run, settings, checkpoint)
            write_unverified(job, context)
        run.write_report(completed(exported=None))
        if not isinstance(error, _EXPORT_FAILURES):
            raise
        hint = ""
        message = say("The export failed: {reason:clause}.", reason=first_line(error))
        if isinstance(error, EngineError):
            message, hint = error.message, error.hint
        where = say(
            "The pruned model is not lost: it can be exported again from {folder}.",
            folder=run.path,
        )
        if probe is None:
            where = say(
                "The pruned model is not lost: it is in {folder}, unverified.",
                folder=checkpoint,
            )
        raise ExportError(message, say_all(hint, where)) from error
    context.emit(exported)
    written = completed(exported)
    run.write_report(written)
    return written


def _written_beside(
    pruned: PrunedModel, report: Report, run: RunFolder, context: RunContext
) -> Path | None:
    """Write the checkpoint that other formats are made of; None: it is the original."""
    if report.config.writes_original:
        return None
    path = run.checkpoint_path
    job = ExportJob(pruned, report, run, ExportConfig(), path, replace=True)
    context.emit(export(job, context))
    return path


def _run_started(
    run: RunFolder, state: PruningState, context: RunContext
) -> RunStarted:
    windows = state.windows
    return RunStarted(
        folder=str(run.path),
        shots=state.config.pruning.shots,
        model=state.original,
        device=devices.names_in_use(state.loaded.device),
        calibration_tokens=windows.calibration.numel(),
        validation_tokens=windows.validation.numel(),
        recovery=state.config.recovery,
        expected=context.expected,
        planned=dict(context.planned),
    )


def _report(state: PruningState, baseline: Evaluation, result: PruningResult) -> Report:
    """Return the report of a run before its export, without time and memory."""
    return Report(
        config=state.config,
        model=state.original,
        versions=versions(),
        device=devices.names_in_use(state.loaded.device),
        baseline=baseline,
        shots=result.shots,
        recovered=result.recovered,
        exported=None,
        checkpoint="",
        stopped_early=result.stopped_early,
        tokens=state.tokens,
        seconds=0.0,
        seconds_of_stages={},
        peak_memory_bytes=0,
    )
