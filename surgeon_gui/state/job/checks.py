"""Checks of a job before it starts: problems by step, and obstacles of each action.

The checks consider the draft, the inspected model and the disk. The engine checks again
when the run starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from surgeon_engine.api.config.calibration import CalibrationConfig, real_name
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.layer_patterns import matches, parse_limit
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.export_marker import MARKER
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.model_info.header import local_path
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.base.errors import ConfigError, ExportError, PruningError
from surgeon_engine.base.files import check_not_occupied
from surgeon_engine.planning.automatic_settings import with_width_multiple
from surgeon_engine.planning.limits import check_target_in_limits
from surgeon_engine.planning.target_size import file_dtype, goal_of
from surgeon_gui.base import paths
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState, Engine, Step
from surgeon_gui.state.job import file_formats
from surgeon_gui.state.job.resource_text import resource_obstacle
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.sources import resolver
from surgeon_gui.state.sources.reading import reading_obstacle
from surgeon_gui.state.sources.text import facts_problem
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import source_name

_MAX_BEGINNING = 4  # tokens that a window may begin with besides its text
_BUSY_REASONS = {
    RequestKind.SAVE: tr("The pruned model is being saved in another format."),
    RequestKind.MEASUREMENT: tr("Speed is being measured."),
    RequestKind.DIAGNOSIS: tr("The model is being diagnosed."),
}


def find_problems(
    config: RunConfig,
    model: ModelSummary | None,
    run_parent: str,
    *,
    on_cuda: bool = False,
    is_remote: bool = False,
    may_replace: bool = False,
) -> dict[Step, str]:
    """Return the problems of a job by step, without steps that have none.

    Args:
        config: the job.
        model: its model; None: not inspected yet.
        run_parent: the folder of the run folders.
        on_cuda: whether it computes on a GPU that torch calls "cuda".
        is_remote: whether the engine is on another computer; only the engine can then
            look for the files.
        may_replace: whether the user allows to replace an export at the destination.
    """
    if is_remote:
        found = {
            Step.TARGET: target_problem(config, model, on_cuda=on_cuda).text,
            Step.EXPORT: file_formats.format_problem(config, model),
        }
        return {step: problem for step, problem in found.items() if problem}
    found = {
        Step.MODEL: _model_problem(config),
        Step.CALIBRATION: calibration_problem(config, model).text,
        Step.TARGET: target_problem(config, model, on_cuda=on_cuda).text,
        Step.RUN: _run_problem(run_parent),
        Step.EXPORT: _export_problem(config, model, run_parent, may_replace),
    }
    return {step: problem for step, problem in found.items() if problem}


def start_obstacle(state: AppState) -> str:
    """Return why a run cannot be started; empty if it can."""
    if obstacle := engine_obstacle(state):
        return f"{obstacle} {reading_obstacle(state)}".strip()
    return draft_obstacle(state)


def draft_obstacle(state: AppState) -> str:
    """Return why the draft makes no run, now or later; empty if it does."""
    if not state.model_is_chosen:
        return tr("Choose a model first.")
    if (error := state.request(RequestKind.INSPECTION).error) is not None:
        return error.message
    for problem in state.problems.values():
        return problem
    if problem := facts_problem(state):
        return problem
    if (error := state.request(RequestKind.PREVIEW).error) is not None:
        return error.message
    if state.engine is Engine.STARTING:
        return tr("The engine is still starting.")
    return reading_obstacle(state) or resource_obstacle(state.resource_check)


def save_obstacle(state: AppState) -> str:
    """Return why the result cannot be saved in another format; empty if it can."""
    if obstacle := engine_obstacle(state) or place_obstacle(state):
        return obstacle
    if state.run.status is not Status.FINISHED or state.run.exported is None:
        return tr("Only the export of a finished run can be saved in another format.")
    config = state.save_config
    reason = file_formats.disabled_save_formats(state.run.exported).get(
        config.format, ""
    )
    if reason:
        return tr("{label} is not possible. {reason}").format(
            label=choice_label(config.format)[0], reason=reason
        )
    return state.save_problem


def save_problem(state: AppState) -> str:
    """Return the problem of the folder to save the result to; empty if none."""
    if state.computer:
        return ""
    exported, destination = state.run.exported, Path(save_destination(state))
    if exported is None:
        return ""
    if paths.expanded(exported.folder).is_relative_to(destination):
        return tr(
            "The destination contains the run's own export. Choose another folder."
        )
    if paths.expanded(state.run.folder).is_relative_to(destination):
        return tr("The destination contains the run folder. Choose another folder.")
    if paths.is_file(str(destination)):
        return tr("{destination} is a file. Choose a folder.").format(
            destination=destination
        )
    if problem := _unmakeable_problem(destination):
        return problem
    source = state.run.config.model.source if state.run.config is not None else DEMO
    if problem := _protected_content(destination, source):
        return tr("{problem} Choose another folder.").format(problem=problem)
    return ""


def save_destination(state: AppState) -> PurePath:
    """Return the folder to save the result to."""
    folder, run_folder = state.save_config.folder, state.run.folder
    if state.computer:  # which has no paths of Windows, as this one may
        there = PurePosixPath(run_folder)
        default = file_formats.default_folder(there, state.save_config.format)
        return PurePosixPath(folder) if folder else default
    here = file_formats.default_folder(Path(run_folder), state.save_config.format)
    return paths.expanded(folder or str(here))


def measure_obstacle(state: AppState) -> str:
    """Return why the speed of the result cannot be measured; empty if it can."""
    if obstacle := engine_obstacle(state) or place_obstacle(state):
        return obstacle
    exported = state.run.exported
    if state.run.status is not Status.FINISHED or exported is None:
        return tr("Only the export of a finished run can be measured.")
    if not file_formats.is_measurable(exported):
        label = choice_label(exported.format)[0]
        return tr(
            "Only files for transformers can be measured here, not {label}."
        ).format(label=label)
    return ""


def diagnosis_obstacle(state: AppState) -> str:
    """Return why the model cannot be diagnosed; empty if it can."""
    if state.computer:
        return tr("A diagnosis needs its files here. Choose This computer for it.")
    steps = (Step.MODEL, Step.CALIBRATION, Step.TARGET)  # a diagnosis exports nothing
    problems = {s: p for s, p in state.problems.items() if s in steps}
    return start_obstacle(replace(state, problems=problems))


def engine_obstacle(state: AppState) -> str:
    """Return why the engine cannot start a long task; empty if it can."""
    if state.run.status.is_busy:
        return tr("A run is in progress.")
    if state.task is not None:
        return _BUSY_REASONS[state.task]
    if state.engine is Engine.UNAVAILABLE:
        return tr("The engine is not available. Restart Surgeon.")
    if not state.is_connected:
        return tr("There is no connection with {computer}.").format(
            computer=state.computer
        )
    return ""


def place_obstacle(state: AppState) -> str:
    """Return that the shown run is on another computer than the engine."""
    if state.run.computer == state.computer or not state.shows_run:
        return ""
    return tr("This run is not on {computer}: choose its computer first.").format(
        computer=state.computer or tr("this computer")
    )


def is_in_export_folder(
    config: RunConfig, folder: PurePath, *, is_remote: bool = False
) -> bool:
    """Return True if `folder` is the destination of the export or is inside it."""
    if not config.export.folder:
        return False
    if is_remote:
        return folder.is_relative_to(PurePosixPath(config.export.folder))
    destination = paths.expanded(config.export.folder)
    return paths.expanded(str(folder)).is_relative_to(destination)


def is_destination_of(run: RunState, export: ExportConfig) -> bool:
    """Return True if a run writes its files to the folder of `export`, or has."""
    if run.config is None or not export.folder:
        return False
    return run.config.export.folder == export.folder


def _model_problem(config: RunConfig) -> str:
    return resolver.model_problem(config.model.source)


class Problem(NamedTuple):
    """A problem of a step, and the setting to which it belongs."""

    text: str = ""  # empty: there is none
    setting: str = ""


def calibration_problem(config: RunConfig, model: ModelSummary | None) -> Problem:
    """Return the problem of the texts and their windows."""
    calibration = config.calibration
    judging = config.evaluation.texts if config.evaluation.windows else ()
    texts = [
        ("text", calibration.text),
        ("validation_text", calibration.validation_text),
        *(("more_texts", more.text) for more in calibration.more_texts),
        *(("texts", text) for text in judging),
    ]
    for setting, text in texts:
        if problem := resolver.text_problem(text):
            return Problem(problem, setting)
    for text in judging:
        if real_name(text) in map(real_name, calibration.all_texts):
            template = tr(
                "{text} is a calibration text. Choose another text to judge on."
            )
            return Problem(template.format(text=source_name(text)), "texts")
    if (too_short := _short_text_problem(calibration)).text:
        return too_short
    if calibration.lacks_validation:
        problem = tr(
            "All windows of a token file are used for calibration. Choose another text "
            "for validation."
        )
        return Problem(problem, "validation_text")
    if calibration.mixes_token_file:
        problem = tr(
            "All windows of a token file are used, so there is no share for further "
            "texts. Choose another text, or remove the further texts."
        )
        return Problem(problem, "more_texts")
    maximum = model.longest_window if model is not None else 0
    is_known = calibration.cuts_windows  # else the file determines the length
    if maximum and is_known and calibration.window_length > maximum:
        template = tr(
            "Windows of {window_length} tokens are longer than the context length of "
            "this model ({maximum} tokens)."
        )
        problem = template.format(
            window_length=calibration.window_length, maximum=maximum
        )
        return Problem(problem, "window_length")
    return Problem()


def _short_text_problem(calibration: CalibrationConfig) -> Problem:
    """Return which plain text has fewer bytes than its windows have tokens."""
    length = calibration.window_length
    for setting, text, counts in _windows_of_texts(calibration):
        size = resolver.plain_text_bytes(text)
        if size is not None and size < sum(counts) * (length - _MAX_BEGINNING):
            template = tr(
                "{text} has {size} bytes: too few for {windows} windows of {length} "
                "tokens, because a token has at least one byte. Choose a longer text, "
                "or fewer or shorter windows."
            )
            problem = template.format(
                text=source_name(text),
                size=numbers.whole(size),
                windows=" + ".join(map(numbers.whole, counts)),
                length=numbers.whole(length),
            )
            return Problem(problem, setting)
    return Problem()


def _windows_of_texts(
    calibration: CalibrationConfig,
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield the setting of each text, the text, and the windows that it needs."""
    main, *further = calibration.window_counts
    held_out = calibration.validation_text or calibration.text
    validation = calibration.validation_windows
    if real_name(held_out) == real_name(calibration.text):
        yield "text", calibration.text, (main, validation)
    else:
        yield "text", calibration.text, (main,)
        yield "validation_text", held_out, (validation,)
    for more, count in zip(calibration.more_texts, further, strict=True):
        yield "more_texts", more.text, (count,)


def target_problem(
    config: RunConfig, model: ModelSummary | None, *, on_cuda: bool = False
) -> Problem:
    """Return the problem of the structure, the target and the protections."""
    if model is None:
        return Problem()
    for support in model.structures:
        if support.structure is config.pruning.kind and not support.supported:
            return Problem(support.reason, "structure")
    unknown = _unknown_layer_problem(config, model)
    if unknown.text:
        return unknown
    if config.blocks_miss_size:
        problem = tr(
            "GGUF files (step 5) fill the widths of layers up to multiples of 32. To "
            "reach a target size, set Width multiple to 32."
        )
        return Problem(problem, "width_multiple")
    try:
        pruning = with_width_multiple(config, model, on_cuda=on_cuda).pruning
        goal = goal_of(pruning, model, file_dtype(config, model))
        check_target_in_limits(goal, pruning, model)
    except (ConfigError, PruningError) as error:
        return Problem(f"{error.message} {error.hint}".strip(), "target")
    return Problem()


def _unknown_layer_problem(config: RunConfig, model: ModelSummary) -> Problem:
    """Return which pattern matches no layer."""
    for pattern in config.pruning.protect:
        if not any(matches(layer, pattern) for layer in model.layers):
            problem = tr("Protect: no layer is called “{pattern}”.")
            return Problem(problem.format(pattern=pattern), "protect")
    for limit in map(parse_limit, config.pruning.layer_min_density):
        if not any(matches(layer, limit.pattern) for layer in model.layers):
            problem = tr("Minimum per layer: no layer is called “{pattern}”.")
            return Problem(problem.format(pattern=limit.pattern), "layer_min_density")
    return Problem()


def _run_problem(run_parent: str) -> str:
    """Return why no run can be written into the runs folder; empty if one can."""
    unwritable = paths.unwritable_folder(run_parent) if run_parent else ""
    if not unwritable:
        return ""
    if paths.is_file(unwritable):
        text = tr("{path} is a file. Choose a folder for the runs.")
    else:
        text = tr("The folder {path} cannot be written. Choose another for the runs.")
    return text.format(path=unwritable)


def can_replace(config: RunConfig, run_parent: str, *, is_remote: bool = False) -> bool:
    """Return True if the destination holds an export that may be replaced."""
    folder = config.export.folder
    if is_remote or not folder:
        return False
    if is_in_export_folder(config, paths.expanded(run_parent)):
        return False
    if _protected_content(paths.expanded(folder), config.model.source):
        return False
    return paths.is_file(str(paths.expanded(folder) / MARKER))


def _protected_content(destination: Path, source: str) -> str:
    """Return what a destination contains that is never replaced; empty if nothing."""
    path = local_path(source)
    if path is not None and paths.expanded(str(path)).is_relative_to(destination):
        return tr("The destination contains the original model.")
    if paths.home().is_relative_to(destination):
        return tr("The destination contains your home folder.")
    return ""


def _unmakeable_problem(destination: Path) -> str:
    """Return why a folder cannot be created at a destination; empty if it can."""
    # It is written beside the destination and then moved there.
    unwritable = paths.unwritable_folder(str(destination.parent))
    if not unwritable:
        return ""
    text = tr(
        "{destination} cannot be created: {path} cannot be written. Choose another "
        "folder."
    )
    if paths.is_file(unwritable):
        text = tr(
            "{destination} cannot be created: {path} is a file. Choose another folder."
        )
    return text.format(destination=destination, path=unwritable)


def _export_problem(
    config: RunConfig, model: ModelSummary | None, run_parent: str, may_replace: bool
) -> str:
    if problem := file_formats.format_problem(config, model):
        return problem
    folder = config.export.folder
    if not folder:
        return ""
    if is_in_export_folder(config, paths.expanded(run_parent)):
        return tr(
            "{folder} is or contains the folder for runs. Choose another folder."
        ).format(folder=folder)
    if problem := _protected_content(paths.expanded(folder), config.model.source):
        return tr("{problem} Choose another folder.").format(problem=problem)
    try:
        if not may_replace or not paths.is_folder(folder):
            check_not_occupied(paths.expanded(folder), ExportError)
    except ExportError as error:
        return str(error)
    except OSError as error:
        return tr("{folder} cannot be used: {strerror}.").format(
            folder=folder, strerror=error.strerror
        )
    return _unmakeable_problem(paths.expanded(folder))
