"""Texts about the steps and the plan of the next run.

Pure functions of the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import (
    Exported,
)
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import resource_text
from surgeon_gui.state.job.checks import is_destination_of
from surgeon_gui.state.job.file_formats import is_larger
from surgeon_gui.state.job.plan_text import brief_file, brief_plan, describe_plan
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.state.run_text import finish_reason
from surgeon_gui.state.runs.text import title_of
from surgeon_gui.state.sources import reading
from surgeon_gui.state.sources.reading import needs_download
from surgeon_gui.state.sources.text import (
    download_brief,
    download_error,
    facts_problem,
)
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.problems import Problem, Step, of_error, sentence, statement


class Mark(Enum):
    """Status of a step."""

    EMPTY = "empty"  # nothing chosen or done yet
    BUSY = "busy"
    READY = "ready"
    WARNING = "warning"  # done, but not as one would expect
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class StepView:
    """Content of the header of a step."""

    mark: Mark
    summary: str
    is_on_page: bool = True  # a problem that the page of the step shows, too


def step_view(state: AppState, step: Step) -> StepView:
    """Return the content of the header of `step`."""
    if step is Step.EXPORT:
        return _export_view(state)
    views = {
        Step.MODEL: _model_view,
        Step.CALIBRATION: _calibration_view,
        Step.RUN: _run_view,
    }
    if step is Step.MODEL and (view := _hub_view(state)) is not None:
        return view
    problem = state.problems.get(step)
    preview_error = state.request(RequestKind.PREVIEW).error
    if step is Step.CALIBRATION and problem is None and preview_error is not None:
        problem = of_error(preview_error)
    if problem is not None and (state.model_is_chosen or step is not Step.MODEL):
        return StepView(Mark.PROBLEM, sentence(problem))
    if step is Step.TARGET:
        return StepView(Mark.READY, brief_plan(state.config.pruning))
    return views[step](state)


def plan_or_hint(
    state: AppState, obstacle: Problem | None, *, is_brief: bool = False
) -> str:
    """Return the plan of the run in progress or of the draft, or what it lacks."""
    run = state.run
    if run.status.is_busy and run.config is not None:
        model = run.model or state.model
        if model is None:
            return tr("{source} is being loaded.").format(
                source=source_name(run.config.model.source)
            )
        describe = _in_brief if is_brief else describe_plan
        plan = describe(run.config, model)
        return tr("In progress: {sentence}").format(sentence=plan)
    if not state.model_is_chosen:
        return tr("Choose a model to begin.")
    if obstacle is not None:
        text = statement(obstacle) if is_brief else sentence(obstacle)
        return _with_step(obstacle, text)
    assert state.model is not None
    if is_brief:
        plan = _in_brief(state.config, state.model, _brief_time(state))
    else:
        needs = resource_text.describe_needs(state.resource_check)
        parts = (describe_plan(state.config, state.model), needs, _place(state))
        plan = " ".join(filter(None, parts))
    is_next = state.shows_run
    return tr("Next run: {sentence}").format(sentence=plan) if is_next else plan


def _in_brief(config: RunConfig, model: ModelSummary, time: str = "") -> str:
    """Return model, target, size of the file and time of a run, without a full stop."""
    plan = tr("{model}: {plan}").format(
        model=source_name(config.model.source), plan=brief_plan(config.pruning)
    )
    return "; ".join(filter(None, (plan, brief_file(config, model), time)))


def _brief_time(state: AppState) -> str:
    """Return how long the draft takes and on which other computer; empty: unknown."""
    check = state.resource_check
    seconds = check.estimate.seconds if check is not None else None
    texts = [tr("about {time}")] if seconds is not None else []
    texts += [tr("on {computer}")] if state.computer else []
    return " ".join(texts).format(
        time=numbers.rough_duration(seconds or 0.0), computer=state.computer
    )


def _place(state: AppState) -> str:
    """Return on which other computer a run computes; empty if on this one."""
    if not state.computer:
        return ""
    machine = state.machine
    if machine is None or not machine.computes_on_gpu(state.config.model.device):
        return tr("It runs on {computer}.").format(computer=state.computer)
    return tr("It runs on {computer} ({gpu}).").format(
        computer=state.computer, gpu=machine.gpu_name
    )


def _with_step(obstacle: Problem, text: str) -> str:
    """Return a text about an obstacle, after the step of which it is the problem."""
    if obstacle.step is None:
        return text
    number = list(Step).index(obstacle.step) + 1
    return tr("Step {number}: {problem}").format(number=number, problem=text)


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
    if text.takes_whole_file:
        summary = tr("{text}, all windows").format(text=name)
    else:
        summary = tr("{text}, {windows} windows of {length}").format(
            text=name, windows=text.windows, length=text.window_length
        )
    return StepView(Mark.EMPTY if is_due else Mark.READY, summary)


def _run_view(state: AppState) -> StepView:
    run = state.active_run
    match run.status:
        case Status.IDLE:
            return StepView(Mark.EMPTY, tr("Not started"))
        case Status.FINISHED:
            return StepView(Mark.READY, finish_reason(run))
        case Status.FAILED:
            return StepView(Mark.PROBLEM, tr("Failed"), is_on_page=False)
        case Status.CANCELLED:
            return StepView(Mark.EMPTY, tr("Cancelled"))
        case Status.INTERRUPTED:
            return StepView(Mark.PROBLEM, tr("Interrupted"), is_on_page=False)
    share = numbers.percent(int(run.progress * 100) / 100)
    summary = tr("Running, {share}").format(share=share)
    if run.status is Status.PAUSED:
        summary = tr("Paused at {share}").format(share=share)
    if run.config is not None:
        # The draft may be another job, above all while the queue works.
        summary = f"{summary}: {title_of(run.folder, '', run.config)}"
    return StepView(Mark.BUSY, summary)


def _export_view(state: AppState) -> StepView:
    run, save = state.active_run, state.request_of_run(RequestKind.SAVE)
    if run.export_has_failed and run.error is not None:
        summary = tr("Failed: {message}").format(message=run.error.message)
        return StepView(Mark.PROBLEM, summary, is_on_page=False)
    if run.is_exporting:
        return StepView(Mark.BUSY, tr("Writing and verifying the pruned model…"))
    if save.is_open:
        return StepView(Mark.BUSY, tr("Saving in another format…"))
    if state.request_of_run(RequestKind.MEASUREMENT).is_open:
        return StepView(Mark.BUSY, tr("Measuring speed…"))
    if save.error is not None:
        summary = tr("Not saved: {message}").format(message=save.error.message)
        return StepView(Mark.PROBLEM, summary, is_on_page=False)
    problem = state.problems.get(Step.EXPORT)
    # Files of this run at the destination are a problem for the next one alone.
    is_shown = not problem or is_destination_of(run, state.config.export)
    if run.exported is not None and run.status is Status.FINISHED and is_shown:
        return _exported_view(run.exported, run.model)
    if problem:
        return StepView(Mark.PROBLEM, sentence(problem))
    export = state.config.export
    destination = (
        source_name(export.folder) if export.folder else tr("Inside the run's folder")
    )
    if export.format is not Format.AUTOMATIC:
        destination = f"{choice_label(export.format)[0]}; {destination}"
    return StepView(Mark.EMPTY, destination)


def _exported_view(exported: Exported, model: ModelSummary | None) -> StepView:
    size = numbers.size(exported.weight_bytes)
    if is_larger(exported.weight_bytes, model):
        summary = tr("{size}, larger than the original")
        return StepView(Mark.WARNING, summary.format(size=size))
    summary = tr("{size}, verified")
    if not exported.tokens_compared:
        summary = tr("{size}, not run")
    return StepView(Mark.READY, summary.format(size=size))
