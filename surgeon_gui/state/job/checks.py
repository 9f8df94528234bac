"""Checks of a job before it starts: problems by step, and obstacles of each action.

The checks consider the draft, the inspected model and the disk. The engine checks again
when the run starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath, PurePosixPath

from surgeon_engine.api.config.export import (
    FOR_TRANSFORMERS,
    LLAMA_PACKAGE,
    ExportConfig,
    Format,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.export_folder import check_export_folder, original_paths
from surgeon_engine.api.export_marker import MARKER
from surgeon_engine.api.messages.run import Exported
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.model_info.source_names import hub_name, is_gguf_name
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError, ExportError
from surgeon_engine.base.files import expand_path
from surgeon_engine.planning.job_check import job_errors
from surgeon_engine.planning.windows import text_errors
from surgeon_gui.base import offline, paths
from surgeon_gui.base.translation import tr
from surgeon_gui.state import bars
from surgeon_gui.state.app import AppState, Engine
from surgeon_gui.state.job import file_formats
from surgeon_gui.state.job.resource_text import resource_obstacle
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.sources import resolver
from surgeon_gui.state.sources.reading import reading_obstacle
from surgeon_gui.state.sources.text import facts_problem
from surgeon_gui.text.problems import (
    Kind,
    Problem,
    Problems,
    Step,
    of_error,
    sentence,
)

_BUSY = {
    RequestKind.SAVE: Kind.SAVING,
    RequestKind.MEASUREMENT: Kind.MEASURING,
    RequestKind.JUDGMENT: Kind.JUDGING,
    RequestKind.DIAGNOSIS: Kind.DIAGNOSING,
}
_NEXT_RUN = "next-run"  # stands for the folder of a run that does not exist yet
# The step that shows each part of a job with its problem.
STEPS = {
    "model": Step.MODEL,
    "calibration": Step.CALIBRATION,
    "evaluation": Step.CALIBRATION,
    "pruning": Step.TARGET,
    "recovery": Step.TARGET,
    "export": Step.EXPORT,
    "samples": Step.RUN,
}


def find_problems(
    config: RunConfig,
    model: ModelSummary | None,
    run_parent: str,
    *,
    on_cuda: bool = False,
    is_remote: bool = False,
    may_replace: bool = False,
) -> Problems:
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
    errors: Iterator[tuple[str, EngineError]] = config.contradictions()
    if model is not None:
        errors = job_errors(config, model, on_cuda=on_cuda)
    found: list[Problem | None] = []
    for name, error in errors:
        part, setting = name.split(".")
        found.append(of_error(error, STEPS[part], setting))
    if not is_remote:
        found += [
            resolver.model_problem(config.model.source),
            *_text_problems(config),
            runs_folder_problem(run_parent),
            _folder_problem(config, run_parent, may_replace),
        ]
    problems: dict[Step, tuple[Problem, ...]] = {}
    for problem in found:
        if problem is not None and problem.step is not None:
            before = problems.get(problem.step, ())
            problems[problem.step] = (*before, problem)
    return problems


def first_problem(problems: Problems) -> Problem | None:
    """Return the first problem of the first step; None without problems."""
    return next((each for found in problems.values() for each in found), None)


def start_obstacle(state: AppState) -> Problem | None:
    """Return why a run cannot be started; None if it can."""
    can_queue = state.engine is Engine.READY and not state.computer
    if state.run.status.is_busy and can_queue:
        return draft_obstacle(state) or Problem(Kind.QUEUEABLE)
    return engine_obstacle(state) or draft_obstacle(state)


def draft_obstacle(state: AppState) -> Problem | None:
    """Return why the draft makes no run, now or later; None if it does."""
    if not state.model_is_chosen:
        return Problem(Kind.NO_MODEL)
    if (error := state.request(RequestKind.INSPECTION).error) is not None:
        return of_error(error)
    if problem := first_problem(state.problems) or facts_problem(state):
        return problem
    for kind in (RequestKind.PREVIEW, RequestKind.VOCABULARY):
        if (error := state.request(kind).error) is not None:
            return of_error(error)
    if state.engine is Engine.STARTING:
        return Problem(Kind.ENGINE_STARTING)
    if problem := reading_obstacle(state):
        return problem
    if state.machine is None:
        return Problem(Kind.MACHINE_UNKNOWN)
    return resource_obstacle(state.resource_check)


def save_obstacle(state: AppState) -> Problem | None:
    """Return why the result cannot be saved in another format; None if it can."""
    if obstacle := engine_obstacle(state) or place_obstacle(state):
        return obstacle
    run, target = state.shown_run, state.save_config.format
    if run.status is not Status.FINISHED or run.exported is None:
        return Problem(Kind.UNSAVEABLE)
    if reason := file_formats.disabled_save_formats(run.exported).get(target):
        values = {"label": target, "reason": reason}
        return Problem(Kind.SAVE_FORMAT_IMPOSSIBLE, values)
    return save_source_problem(state) or save_problem(state)


def save_source_problem(state: AppState) -> Problem | None:
    """Return that the source of other formats is gone; None if it is not."""
    missing = state.missing.get(source_of_formats(state.shown_run))
    if missing is None or missing.kind is not Kind.FILE_MISSING:
        return missing
    return replace(missing, kind=Kind.SAVE_SOURCE_MISSING)


def source_of_formats(run: RunState) -> str:
    """Return the model from which other formats are made; the folder without a file.

    It is the file itself, a checkpoint beside it, or the original if that is whole.
    """
    if run.config is None or run.exported is None:
        return run.folder
    if run.exported.format in FOR_TRANSFORMERS:
        return run.exported.folder
    if run.config.writes_original:
        return run.config.model.source
    return str(RunFolder(Path(run.folder)).checkpoint_path)


def save_problem(state: AppState) -> Problem | None:
    """Return the problem of the folder to save the result to; None if none."""
    run, destination = state.shown_run, Path(save_destination(state))
    if state.computer or run.exported is None:
        return None
    original = () if run.config is None else original_paths(run.config)
    protected = (expand_path(run.exported.folder), *original)
    folder = RunFolder(expand_path(run.folder))
    return _export_problem(destination, folder, protected, may_replace=True)


def save_destination(state: AppState) -> PurePath:
    """Return the folder to save the result to."""
    folder, run_folder = state.save_config.folder, state.shown_run.folder
    if state.computer:  # which has no paths of Windows, as this one may
        there = PurePosixPath(run_folder)
        default = file_formats.default_folder(there, state.save_form)
        return PurePosixPath(folder) if folder else default
    here = file_formats.default_folder(Path(run_folder), state.save_form)
    return expand_path(folder or str(here))


def measured_models(run: RunState) -> tuple[str, ...]:
    """Return the models whose speed is measured: the original and the exported one.

    A GGUF file is measured alone if the original is none: other programs run it.
    """
    if run.config is None or run.exported is None:
        return ()
    original, exported = run.config.model.source, run.exported
    if exported.format is Format.GGUF and not is_gguf_name(original):
        return (exported.folder,)
    return (original, exported.folder)


def measure_obstacle(state: AppState) -> Problem | None:
    """Return why the speed of the result cannot be measured; None if it can."""
    if obstacle := _result_obstacle(state):
        return obstacle
    exported = state.shown_run.exported
    versions = state.ready.versions if state.ready is not None else {}
    is_gguf = exported is not None and exported.format is Format.GGUF
    if is_gguf and LLAMA_PACKAGE not in versions:
        return Problem(Kind.GGUF_UNMEASURABLE, {"package": LLAMA_PACKAGE})
    return first_missing(state, *measured_models(state.shown_run))


def judge_obstacle(state: AppState) -> Problem | None:
    """Return why the file of the shown run cannot be judged; None if it can."""
    config = state.shown_run.config
    original = () if config is None else (config.model.source,)
    sources = (*original, *measured_models(state.shown_run))
    return _result_obstacle(state) or first_missing(state, *sources)


def untold(obstacle: Problem | None) -> str:
    """Return an obstacle as text; empty for a missing file, which the head shows."""
    is_told = obstacle is not None and obstacle.kind is Kind.FILE_MISSING
    return "" if is_told else sentence(obstacle)


def missing_in_view(state: AppState) -> dict[str, Problem]:
    """Look for the original, folder and files of the run in view; return what is gone.

    The folder counts as gone if neither the file nor its source is left.
    Nothing is looked for during a run, or on another computer.
    """
    run = state.shown_run
    if run.config is None or run.status.is_busy or run.computer:
        return {}
    found: dict[str, Problem | None] = {}
    source, made = run.config.model.source, source_of_formats(run)
    places = {each.folder: bars.path_of(each) for each in bars.files(run)}
    for name, path in ({run.folder: run.folder, made: made} | places).items():
        gone = Problem(Kind.FILE_MISSING, {"path": paths.with_tilde(path)})
        found[name] = None if paths.exists(path) else gone
    found[source] = resolver.model_problem(source)
    if run.exported is not None and found[made]:
        found[run.folder] = found[run.folder] or found[run.exported.folder]
    return {name: problem for name, problem in found.items() if problem is not None}


def first_missing(state: AppState, *sources: str) -> Problem | None:
    """Return the problem of the first missing source; None if all exist."""
    return next(filter(None, map(state.missing.get, sources)), None)


def file_obstacle(state: AppState, exported: Exported | None) -> Problem | None:
    """Return why a file of the run in view cannot be opened here; None if it can."""
    if computer := state.shown_run.computer:
        return Problem(Kind.FILES_ELSEWHERE, {"computer": computer})
    return None if exported is None else state.missing.get(exported.folder)


def _result_obstacle(state: AppState) -> Problem | None:
    """Return why no task can use the file of the shown run; None if one can."""
    if obstacle := engine_obstacle(state) or place_obstacle(state):
        return obstacle
    run = state.shown_run
    if run.status is not Status.FINISHED or run.exported is None:
        return Problem(Kind.UNMEASURABLE)
    return None


def diagnosis_obstacle(state: AppState) -> Problem | None:
    """Return why the model cannot be diagnosed; None if it can."""
    if state.computer:
        return Problem(Kind.DIAGNOSIS_ELSEWHERE)
    steps = (Step.MODEL, Step.CALIBRATION, Step.TARGET)  # a diagnosis exports nothing
    problems = {s: p for s, p in state.problems.items() if s in steps}
    draft = replace(state, problems=problems)
    return engine_obstacle(state) or draft_obstacle(draft)


def engine_obstacle(state: AppState) -> Problem | None:
    """Return why the engine cannot start a long task; None if it can."""
    if state.run.status.is_busy:
        return Problem(Kind.RUN_BUSY)
    if state.task is not None:
        return Problem(_BUSY[state.task])
    if state.engine is Engine.UNAVAILABLE:
        return Problem(Kind.ENGINE_UNAVAILABLE)
    if not state.is_connected:
        return Problem(Kind.DISCONNECTED, {"computer": state.computer})
    return None


def place_obstacle(state: AppState) -> Problem | None:
    """Return that the shown run is on another computer than the engine."""
    if state.shown_run.computer == state.computer or not state.shows_run:
        return None
    here = state.computer or tr("this computer")
    return Problem(Kind.RUN_ELSEWHERE, {"computer": here})


def is_destination_of(run: RunState, export: ExportConfig) -> bool:
    """Return True if a run writes its files to the folder of `export`, or has."""
    if run.config is None or not export.folder:
        return False
    return run.config.export.folder == export.folder


def _text_problems(config: RunConfig) -> Iterator[Problem]:
    for setting, text in config.texts:
        if offline.is_on() and (name := hub_name(text)) is not None:
            values = {"name": name.display_name}
            yield Problem(Kind.DATASET_OFFLINE, values, Step.CALIBRATION, setting)
    for setting, error in text_errors(config):
        yield of_error(error, Step.CALIBRATION, setting)


def runs_folder_problem(run_parent: str) -> Problem | None:
    """Return why no run can be written into the runs folder; None if one can."""
    path = paths.unwritable_folder(run_parent) if run_parent else ""
    if not path:
        return None
    kind = Kind.RUNS_IN_FILE if paths.is_file(path) else Kind.RUNS_UNWRITABLE
    return Problem(kind, {"path": path}, Step.RUN)


def can_replace(config: RunConfig, run_parent: str, *, is_remote: bool = False) -> bool:
    """Return True if the destination holds an export that may be replaced."""
    folder = config.export.folder
    if is_remote or not folder:
        return False
    if not paths.is_file(str(expand_path(folder) / MARKER)):
        return False
    return _folder_problem(config, run_parent, may_replace=True) is None


def _folder_problem(
    config: RunConfig, run_parent: str, may_replace: bool
) -> Problem | None:
    """Return the problem of the folder of the export; None if there is none."""
    if not config.export.folder:
        return None
    run = RunFolder(expand_path(run_parent) / _NEXT_RUN)
    folder, protected = expand_path(config.export.folder), original_paths(config)
    return _export_problem(folder, run, protected, may_replace=may_replace)


def _export_problem(
    folder: Path, run: RunFolder, protected: Sequence[Path], *, may_replace: bool
) -> Problem | None:
    """Return why an export of a run cannot be written to a folder; None if it can."""
    try:
        check_export_folder(folder, run, protected, replace=may_replace)
    except ExportError as error:
        return of_error(error, Step.EXPORT, "folder")
    # It is written beside the destination and then moved there.
    path = paths.unwritable_folder(str(folder.parent))
    if not path:
        return None
    kind = Kind.PARENT_IS_FILE if paths.is_file(path) else Kind.PARENT_UNWRITABLE
    return Problem(kind, {"destination": folder, "path": path}, Step.EXPORT, "folder")
