"""What speaks against a job before it is started, step by step, in sentences.

Looks at the draft, at the model as it was inspected and at the disk. The engine checks
again; this is to tell early.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

from surgeon_engine.config import BUILTIN_TEXT, DEMO, Correction, RunConfig
from surgeon_engine.errors import ConfigError, ExportError
from surgeon_engine.events import LayerSummary, ModelSummary
from surgeon_engine.run_folder import refuse_occupied
from surgeon_engine.sizes import goal_of
from surgeon_gui import paths
from surgeon_gui.app_state import AppState, Engine, Step

_LEAST_WINDOWS = {Correction.NONE: 1, Correction.LOSS: 4}  # one of 4 is held out
TEXT_ENDINGS = (".txt", ".jsonl", ".npy")


def problems(
    config: RunConfig, model: ModelSummary | None, run_parent: str
) -> dict[Step, str]:
    """What is wrong with the draft; steps that are in order are left out."""
    found = {
        Step.MODEL: _model_problem(config),
        Step.CALIBRATION: _calibration_problem(config, model),
        Step.TARGET: _target_problem(config, model),
        Step.EXPORT: _export_problem(config, run_parent),
    }
    return {step: problem for step, problem in found.items() if problem}


def start_obstacle(state: AppState) -> str:
    """Why a run cannot be started, in a sentence; empty if it can."""
    if state.run.status.is_busy:
        return "A run is under way."
    if state.copy.is_open:
        return "A copy of the pruned model is being saved."
    if state.engine is Engine.GONE:
        return "There is no engine; close Surgeon and start it again."
    if not state.model_is_chosen:
        return "Choose a model first."
    if state.inspection.problem is not None:
        return state.inspection.problem.message
    for problem in state.problems.values():
        return problem
    if state.preview.problem is not None:
        return state.preview.problem.message
    if state.engine is Engine.STARTING:
        return "The engine is still starting."
    if state.model is None:
        return "The model is still being read."
    return ""


def covers(config: RunConfig, folder: Path) -> bool:
    """Whether `folder` is the destination of the export or lies inside of it."""
    if not config.export.folder:
        return False
    destination = paths.expanded(config.export.folder)
    return paths.expanded(str(folder)).is_relative_to(destination)


def _model_problem(config: RunConfig) -> str:
    source = config.model.source
    if source != DEMO and not paths.exists(source):
        return f"There is nothing at {source}."
    return ""


def _calibration_problem(config: RunConfig, model: ModelSummary | None) -> str:
    calibration = config.calibration
    for text in (calibration.text, calibration.validation_text):
        if text in ("", BUILTIN_TEXT):
            continue
        if not paths.is_file(text):
            return f"There is no file {text}."
        path = Path(text)
        if path.suffix.lower() not in TEXT_ENDINGS:
            return f"{path.name} is none of {', '.join(TEXT_ENDINGS)}."
        if paths.is_empty_file(text):
            return f"{path.name} is empty."
    longest = model.longest_window if model is not None else 0
    if longest and calibration.window_length > longest:
        return (
            f"Windows of {calibration.window_length} tokens are longer than the "
            f"{longest} that this model can read."
        )
    return ""


def _target_problem(config: RunConfig, model: ModelSummary | None) -> str:
    if model is None:
        return ""
    for support in model.structures:
        if support.structure is config.pruning.structure and not support.supported:
            return support.reason
    for pattern in config.pruning.protect:
        if not any(_is_meant(layer, pattern) for layer in model.layers):
            return f"{pattern} under Protect is the name of no layer of this model."
    least = _LEAST_WINDOWS[config.pruning.correction]
    if config.calibration.windows < least:
        return f"A correction is judged by held-out windows: it needs {least} windows."
    try:
        goal_of(config.pruning, model, config.model.dtype)
    except ConfigError as error:
        return f"{error.message} {error.hint}".strip()
    return ""


def _is_meant(layer: LayerSummary, pattern: str) -> bool:
    names = (layer.name, layer.kind, f"block {layer.block}")
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _export_problem(config: RunConfig, run_parent: str) -> str:
    if not config.export.folder:
        return ""
    if covers(config, paths.expanded(run_parent)):
        return f"{config.export.folder} is where the folders of runs go, or holds it."
    try:
        refuse_occupied(paths.expanded(config.export.folder), ExportError)
    except ExportError as error:
        return str(error)
    except OSError as error:
        return f"{config.export.folder} cannot be used: {error.strerror}."
    return ""
