"""What speaks against a job before it is started, step by step, in sentences.

Looks at the draft, at the model as it was inspected and at the disk. The engine checks
again; this is to tell early.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from surgeon_engine.api.config.layer_patterns import matches, parse_limit
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import ConfigError, ExportError, PruningError
from surgeon_engine.api.files import check_not_occupied
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.model_info.header import own_path
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.planning.limits import check_target_in_limits
from surgeon_engine.api.planning.target_size import file_dtype, goal_of
from surgeon_gui.base import paths
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState, Engine, Step
from surgeon_gui.state.job import file_formats as file_forms
from surgeon_gui.state.job import resource_text as fits
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.state.sources import resolver as given
from surgeon_gui.text.choices import choice_label

_MIN_WINDOWS = 4  # for a correction: one of 4 is held out
_BUSY = {
    RequestKind.SAVE: tr("The pruned model is being saved in another format."),
    RequestKind.MEASUREMENT: tr("Speed is being measured."),
    RequestKind.DIAGNOSIS: tr("The model is being diagnosed."),
}


def problems(
    config: RunConfig, model: ModelSummary | None, run_parent: str
) -> dict[Step, str]:
    """What is wrong with the draft; steps that are in order are left out."""
    found = {
        Step.MODEL: _model_problem(config),
        Step.CALIBRATION: _calibration_problem(config, model),
        Step.TARGET: _target_problem(config, model),
        Step.EXPORT: _export_problem(config, model, run_parent),
    }
    return {step: problem for step, problem in found.items() if problem}


def start_obstacle(state: AppState) -> str:
    """Why a run cannot be started, in a sentence; empty if it can."""
    if why := engine_obstacle(state):
        return why
    if not state.model_is_chosen:
        return tr("Choose a model first.")
    if (error := state.request(RequestKind.INSPECTION).error) is not None:
        return error.message
    for problem in state.problems.values():
        return problem
    if (error := state.request(RequestKind.PREVIEW).error) is not None:
        return error.message
    if state.engine is Engine.STARTING:
        return tr("The engine is still starting.")
    if state.model is None:
        return tr("The model is still being read.")
    return fits.obstacle(state.resource_check)


def save_obstacle(state: AppState) -> str:
    """Why the result cannot be saved once more; empty if it can."""
    if why := engine_obstacle(state):
        return why
    if state.run.status is not Status.FINISHED or state.run.exported is None:
        return tr("Only what a finished run has exported can be saved once more.")
    config = state.save_config
    reason = file_forms.disabled_others(state.run.exported).get(config.format, "")
    if reason:
        return tr("{label} is not possible. {reason}").format(
            label=choice_label(config.format)[0], reason=reason
        )
    return state.save_problem


def save_problem(state: AppState) -> str:
    """What is wrong with the place where the result is to be saved once more."""
    exported, destination = state.run.exported, save_destination(state)
    if exported is None:
        return ""
    if paths.expanded(exported.folder).is_relative_to(destination):
        return tr("The run's own export is there. Choose another folder.")
    if paths.expanded(state.run.folder).is_relative_to(destination):
        return tr("The folder of the run is there. Choose another folder.")
    if paths.is_file(str(destination)):
        return tr("{destination} is a file. Choose a folder.").format(
            destination=destination
        )
    source = state.run.config.model.source if state.run.config is not None else DEMO
    what = _required_weights(destination, source)
    return tr("{what} Choose another folder.").format(what=what) if what else ""


def save_destination(state: AppState) -> Path:
    """Where the result is to be saved once more."""
    config = state.save_config
    inside = file_forms.folder_in(state.run.folder, config.format)
    return paths.expanded(config.folder or inside)


def measure_obstacle(state: AppState) -> str:
    """Why the times of the result cannot be taken; empty if they can."""
    if why := engine_obstacle(state):
        return why
    exported = state.run.exported
    if state.run.status is not Status.FINISHED or exported is None:
        return tr("Only what a finished run has exported can be measured.")
    if not file_forms.is_measurable(exported):
        label = choice_label(exported.format)[0]
        return tr(
            "Only files for transformers can be measured here, not {label}."
        ).format(label=label)
    return ""


def diagnosis_obstacle(state: AppState) -> str:
    """Why costs cannot be measured; empty if they can."""
    # Where the result of a run would go does not matter.
    about = (Step.MODEL, Step.CALIBRATION, Step.TARGET)
    problems = {s: p for s, p in state.problems.items() if s in about}
    return start_obstacle(replace(state, problems=problems))


def engine_obstacle(state: AppState) -> str:
    """Why the engine cannot take on anything long; empty if it can."""
    if state.run.status.is_busy:
        return tr("A run is under way.")
    if state.task is not None:
        return _BUSY[state.task]
    if state.engine is Engine.UNAVAILABLE:
        return tr("There is no engine; close Surgeon and start it again.")
    return ""


def covers(config: RunConfig, folder: Path) -> bool:
    """Whether `folder` is the destination of the export or lies inside of it."""
    if not config.export.folder:
        return False
    destination = paths.expanded(config.export.folder)
    return paths.expanded(str(folder)).is_relative_to(destination)


def _model_problem(config: RunConfig) -> str:
    return given.model_problem(config.model.source)


def _calibration_problem(config: RunConfig, model: ModelSummary | None) -> str:
    calibration = config.calibration
    for text in (calibration.text, calibration.validation_text):
        if problem := given.text_problem(text):
            return problem
    if calibration.lacks_validation:
        return tr(
            "All windows of a token file are for calibration: choose another text "
            "for validation."
        )
    longest = model.longest_window if model is not None else 0
    is_cut = calibration.cuts_windows  # else their length is seen once they are read
    if longest and is_cut and calibration.window_length > longest:
        return tr(
            "Windows of {window_length} tokens are longer than the {longest} "
            "that this model can read."
        ).format(window_length=calibration.window_length, longest=longest)
    return ""


def _target_problem(config: RunConfig, model: ModelSummary | None) -> str:
    if model is None:
        return ""
    for support in model.structures:
        if support.structure is config.pruning.kind and not support.supported:
            return support.reason
    if problem := _unknown_name(config, model):
        return problem
    if config.blocks_miss_size:
        return tr(
            "In Q8_0 files (step 5), rows whose length 32 does not divide stay in 16 "
            "bits: for a target of a size, set Width multiple to 32."
        )
    has_few = config.calibration.windows < _MIN_WINDOWS
    has_few = has_few and not config.calibration.takes_whole_file
    if config.pruning.is_corrected and has_few:
        return tr(
            "The correction is judged by held-out windows: it needs "
            "{least} windows. Use as many, or set Correction to "
            "None."
        ).format(least=_MIN_WINDOWS)
    try:
        goal = goal_of(config.pruning, model, file_dtype(config, model))
        check_target_in_limits(goal, config.pruning, model)
    except (ConfigError, PruningError) as error:
        return f"{error.message} {error.hint}".strip()
    return ""


def _unknown_name(config: RunConfig, model: ModelSummary) -> str:
    """What is meant to be protected or limited and is not there; empty: nothing."""
    for pattern in config.pruning.protect:
        if not any(matches(layer, pattern) for layer in model.layers):
            return tr(
                "{pattern} under Protect is the name of no layer of this model."
            ).format(pattern=pattern)
    for limit in map(parse_limit, config.pruning.layer_min_density):
        if not any(matches(layer, limit.pattern) for layer in model.layers):
            return tr(
                "{pattern} under Limits is the name of no layer of this model."
            ).format(pattern=limit.pattern)
    return ""


def can_replace(config: RunConfig, run_parent: str) -> bool:
    """Whether the destination holds something that may go once the user agrees."""
    folder = config.export.folder
    if config.export.replace or covers(config, paths.expanded(run_parent)):
        return False
    if not folder or _required_weights(paths.expanded(folder), config.model.source):
        return False
    return paths.is_occupied(folder)


def _required_weights(destination: Path, source: str) -> str:
    """What is at a destination, or below it, that nobody can mean to replace."""
    path = own_path(source)
    if path is not None and paths.expanded(str(path)).is_relative_to(destination):
        return tr("The original model is there.")
    if paths.home().is_relative_to(destination):
        return tr("Your home folder is there.")
    return ""


def _export_problem(
    config: RunConfig, model: ModelSummary | None, run_parent: str
) -> str:
    if problem := file_forms.impossible(config, model):
        return problem
    folder = config.export.folder
    if not folder:
        return ""
    if covers(config, paths.expanded(run_parent)):
        return tr("{folder} is where the folders of runs go, or holds it.").format(
            folder=folder
        )
    if what := _required_weights(paths.expanded(folder), config.model.source):
        return tr("{what} Choose another folder.").format(what=what)
    try:
        if not config.export.replace or not paths.is_folder(folder):
            check_not_occupied(paths.expanded(folder), ExportError)
    except ExportError as error:
        return str(error)
    except OSError as error:
        return tr("{folder} cannot be used: {strerror}.").format(
            folder=folder, strerror=error.strerror
        )
    return ""
