"""Texts of the sections of the drawer Expert. Pure functions of the state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from surgeon_engine.api.config.export import Format
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.plan_text import brief_plan
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources import reading
from surgeon_gui.state.sources.reading import needs_download
from surgeon_gui.state.sources.text import download_brief, download_error, facts_problem
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.problems import Step, of_error, sentence

# What the engine reads of the settings of a step.
_READ = {
    Step.CALIBRATION: RequestKind.PREVIEW,
    Step.TARGET: RequestKind.VOCABULARY,
}


class Mark(Enum):
    """Status of a section."""

    EMPTY = "empty"  # nothing chosen or done yet
    BUSY = "busy"
    READY = "ready"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class StepView:
    """Content of the header of a section."""

    mark: Mark
    summary: str


def step_view(state: AppState, step: Step) -> StepView:
    """Return the content of the header of `step`."""
    if step is Step.MODEL and (view := _hub_view(state)) is not None:
        return view
    problem = state.problem(step)
    if problem is None and step in _READ:
        error = state.request(_READ[step]).error
        problem = of_error(error) if error is not None else None
    if problem is not None and (state.model_is_chosen or step is not Step.MODEL):
        return StepView(Mark.PROBLEM, sentence(problem))
    match step:
        case Step.MODEL:
            return _model_view(state)
        case Step.CALIBRATION:
            return _calibration_view(state)
        case Step.TARGET:
            return StepView(Mark.READY, brief_plan(state.config.pruning))
        case Step.RUN:
            return StepView(Mark.READY, state.runs_folder)
        case Step.EXPORT:
            return _export_view(state)


def _hub_view(state: AppState) -> StepView | None:
    """Return the header while the model is downloading or not yet downloaded."""
    source = state.config.model.source
    if not needs_download(state):
        return None
    if state.download.is_open and state.download.source == source:
        return StepView(Mark.BUSY, download_brief(state.download))
    if error := download_error(state):
        return StepView(Mark.PROBLEM, error)
    summary = tr("{name}: not downloaded yet").format(name=source_name(source))
    return StepView(Mark.EMPTY, summary)


def _model_view(state: AppState) -> StepView:
    if not state.model_is_chosen:
        return StepView(Mark.EMPTY, tr("Choose a model"))
    name = source_name(state.config.model.source)
    if (error := state.request(RequestKind.INSPECTION).error) is not None:
        return StepView(Mark.PROBLEM, error.message)
    if problem := facts_problem(state):
        return StepView(Mark.PROBLEM, sentence(problem))
    if state.model is None:
        return StepView(Mark.BUSY, f"{name}: {reading.doing(state)}")
    size = numbers.count(state.model.parameters)
    return StepView(
        Mark.READY, tr("{name}, {size} parameters").format(name=name, size=size)
    )


def _calibration_view(state: AppState) -> StepView:
    text = state.config.calibration
    name = source_name(text.text)
    if further := len(text.more_texts):
        line = ntr("{text} and {n} further", "{text} and {n} further", further)
        name = line.format(text=name, n=further)
    is_due = reading.is_text_due(state)
    if is_due and (state.model is not None or state.is_busy):
        return StepView(Mark.BUSY, f"{name}: {reading.doing(state)}")
    if text.draws_windows:
        summary = tr("{text}, {windows} windows of {length}").format(
            text=name, windows=text.windows, length=text.window_length
        )
    else:
        summary = tr("{text}, all windows").format(text=name)
    return StepView(Mark.EMPTY if is_due else Mark.READY, summary)


def _export_view(state: AppState) -> StepView:
    export = state.config.export
    folder = export.folder
    destination = source_name(folder) if folder else tr("Inside the run's folder")
    if export.format is not Format.AUTOMATIC:
        destination = f"{choice_label(export.format)[0]}; {destination}"
    return StepView(Mark.READY, destination)
