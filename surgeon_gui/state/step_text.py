"""Texts about the state of a run and of the steps: plan, phase, outcome, times.

Pure functions of the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import (
    DampingChoice,
    Exported,
    MemorySampled,
    Stage,
    UndoReason,
)
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.target_size import TARGET_TOLERANCE, Goal
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import resource_text
from surgeon_gui.state.job.checks import is_destination_of
from surgeon_gui.state.job.file_formats import is_larger
from surgeon_gui.state.job.plan_text import brief_file, brief_plan, describe_plan
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.state.ladder import NOTICEABLE
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.text import title_of
from surgeon_gui.state.sources import reading
from surgeon_gui.state.sources.reading import needs_download
from surgeon_gui.state.sources.text import (
    download_brief,
    download_error,
    facts_problem,
)
from surgeon_gui.text import fidelity, numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import STAGES, UNITS, source_name
from surgeon_gui.text.problems import Problem, Step, of_error, sentence, statement

_ROUNDING = 1e-9  # tolerance of a sparsity


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
    views = {
        Step.MODEL: _model_view,
        Step.CALIBRATION: _calibration_view,
        Step.TARGET: _target_view,
        Step.RUN: _run_view,
    }
    if step is Step.EXPORT:
        return _export_view(state)
    is_model = step is Step.MODEL and state.shows_draft
    if is_model and (view := _hub_view(state)) is not None:
        return view
    problem = state.problems.get(step)
    preview_error = state.request(RequestKind.PREVIEW).error
    if step is Step.CALIBRATION and problem is None and preview_error is not None:
        problem = of_error(preview_error)
    if problem is not None and (state.model_is_chosen or step is not Step.MODEL):
        return StepView(Mark.PROBLEM, sentence(problem))
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


def phase(run: RunState) -> str:
    """Return the current phase of the run, or how it ended, as a sentence."""
    match run.status:
        case Status.IDLE:
            return ""
        case Status.CANCELLING if run.computer:
            return tr("Cancelling… Waiting for {computer}.").format(
                computer=run.computer
            )
        case Status.CANCELLING:
            return tr("Cancelling…")
        case Status.FINISHED:
            return outcome(run)
        case Status.FAILED:
            return tr("The run failed.")
        case Status.CANCELLED:
            return tr("The run was cancelled.")
        case Status.INTERRUPTED:
            return interruption(run)
    return _phase_template(run).format(doing=_current_stage(run))


def _phase_template(run: RunState) -> str:
    """Return the text around the current stage."""
    match run.status:
        case Status.PAUSING:
            return tr("Pausing at the next safe point. {doing}")
        case Status.PAUSED:
            return tr("Paused. {doing}")
        case Status.STOPPING if run.shot or run.history:
            return tr("Stopping after this shot. {doing}")
        case Status.STOPPING:
            return tr("Stopping after the first shot. {doing}")
    return "{doing}"


def _current_stage(run: RunState) -> str:
    """Return the current stage and its progress, with the shot if there is one."""
    doing = stage_progress(run.stage, run.done, run.total)
    if run.shot:
        doing = tr("Shot {shot} of {shots}: {doing}").format(
            shot=run.shot, shots=max(run.shots, run.shot), doing=doing
        )
    elif run.history:
        doing = tr("After the last shot: {doing}").format(doing=doing)
    else:
        doing = doing[0].upper() + doing[1:]
    return doing


def outcome(run: RunState) -> str:
    """Return the result of a finished run, and what saving it in few bits costs."""
    return f"{_outcome_in_memory(run)} {_cost_of_saving(run)}".rstrip()


def _cost_of_saving(run: RunState) -> str:
    """Return the KL by saving as a sentence; empty if it cannot be noticed."""
    exported = run.exported
    nats = exported.saving_divergence if exported is not None else None
    if exported is None or nats is None or nats < NOTICEABLE:
        return ""
    return tr("Saving it in {dtype} adds a KL of {nats}.").format(
        dtype=choice_label(exported.dtype)[0], nats=numbers.nats(nats)
    )


def _outcome_in_memory(run: RunState) -> str:
    """Return the result of a finished run before it is saved, as a sentence."""
    if run.evaluation is None or run.baseline is None or run.model is None:
        return tr("The run finished.")
    last = run.history[-1]
    if run.evaluation.fidelity:
        return tr(
            "{how}: {fidelity}, perplexity {before} → {after} on {text}; {left} of "
            "{all} parameters remain."
        ).format(
            how=_finish_reason(run),
            left=numbers.count(last.parameters),
            all=numbers.count(run.model.parameters),
            fidelity=fidelity.summary(run.evaluation),
            text=fidelity.text_phrase(run.evaluation.fidelity[0].text),
            before=numbers.perplexity(run.baseline.perplexity),
            after=numbers.perplexity(run.evaluation.perplexity),
        )
    return tr(
        "{how}: {left} of {all} parameters remain, perplexity {before} → {after}."
    ).format(
        how=_finish_reason(run),
        left=numbers.count(last.parameters),
        all=numbers.count(run.model.parameters),
        before=numbers.perplexity(run.baseline.perplexity),
        after=numbers.perplexity(run.evaluation.perplexity),
    )


def phase_with_advice(state: AppState) -> str:
    """Return the phase, and how a cancelled run is resumed or started again."""
    run = state.active_run
    if run.status is not Status.CANCELLED or run.config is None:
        return phase(run)
    if run.can_go_on:
        advice = tr("Its progress is kept: resume it in the list of runs.")
    elif run.config == state.config:
        advice = tr("Nothing of it is saved. Start begins it again.")
    else:
        advice = tr(
            "Nothing of it is saved. To start it again, choose Use these settings in "
            "the list of runs."
        )
    return f"{phase(run)} {advice}"


def interruption(run: RunState) -> str:
    """Return after which shot a run was interrupted."""
    done, shots = len(run.history), max(run.shots, len(run.history))
    text = tr("The run was interrupted after {done} of {shots} shots.")
    return text.format(done=done, shots=shots)


def _finish_reason(run: RunState) -> str:
    if run.result is not None and run.result.stopped_early:
        done = len(run.history)
        return tr("Stopped after shot {shot} of {shots}").format(
            shot=done, shots=max(run.shots, done)
        )
    if _ended_at_quality_limit(run):
        return tr("Ended at the quality limit after shot {shot}").format(
            shot=len(run.history)
        )
    return _missed_target(run) or tr("Finished")


def _ended_at_quality_limit(run: RunState) -> bool:
    if run.config is None or not run.config.pruning.has_quality_limit:
        return False
    goal = _goal(run)
    return goal is not None and run.history[-1].target < goal.sparsity - _ROUNDING


def _missed_target(run: RunState) -> str:
    """Return by how much a run misses its target, and why; "" if it reached it."""
    goal = _goal(run)
    if goal is None or goal.sparsity - run.history[-1].sparsity <= TARGET_TOLERANCE:
        return ""
    return tr(
        "Finished at {reached} instead of {target}: the next part to remove is larger "
        "than the remaining budget"
    ).format(
        reached=numbers.percent(run.history[-1].sparsity, decimals=2),
        target=numbers.percent(goal.sparsity, decimals=2),
    )


def _goal(run: RunState) -> Goal | None:
    if run.config is None or run.model is None or not run.history:
        return None
    return goal_or_none(run.config, run.model)


def remaining(run: RunState, now: float) -> str:
    """Return the estimated remaining time, or the time that the run took."""
    if run.status in (Status.IDLE, Status.CANCELLING):
        return ""
    if not run.status.is_busy:
        return tr("took {time}").format(time=numbers.duration(run.seconds(now)))
    seconds = run.remaining_seconds(now)
    if seconds is None:
        return "" if run.status is Status.PAUSED else tr("estimating time left…")
    if seconds < 1 and run.status is Status.RUNNING:
        return tr("nearly done")
    left = numbers.whole_duration(seconds)
    if run.status is Status.PAUSED:
        return tr("about {time} left after resuming").format(time=left)
    if run.is_late(now):
        return tr("about {time} left, longer than planned").format(time=left)
    return tr("about {time} left").format(time=left)


def damping_choice(choice: DampingChoice | None) -> tuple[str, ...]:
    """Return the damping of a shot as clauses; empty for a method without damping."""
    if choice is None:
        return ()
    how = (
        tr("best of {tried} tried").format(tried=choice.tried)
        if choice.tried
        else tr("as given")
    )
    clauses = [
        tr("damping {cost} for costs and {update} for the update, {how}").format(
            cost=numbers.short(choice.cost),
            update=numbers.short(choice.update),
            how=how,
        )
    ]
    if choice.held_out_nats is not None:
        nats = numbers.significant(choice.held_out_nats, 3)
        clauses.append(tr("KL {nats} on held-out windows").format(nats=nats))
    return tuple(clauses)


def last_choice(run: RunState) -> str:
    """Return the damping of the last shot in one or two lines; "" if there is none."""
    if not run.history or run.history[-1].damping is None:
        return ""
    last = run.history[-1]
    first, *others = damping_choice(last.damping)
    line = tr("Shot {shot}: {doing}").format(shot=last.shot, doing=first)
    second_line = "; ".join(others)
    return f"{line}\n{second_line[:1].upper()}{second_line[1:]}".rstrip()


_UNDONE_STEPS = {
    Stage.REFIT: tr("The refit moved the model further from the original: undone."),
    Stage.RECONSTRUCTION: tr(
        "The reconstruction moved the model further from the original: undone."
    ),
    Stage.DISTILLATION: tr(
        "The training did not bring the model closer to the original: undone."
    ),
}
_UNDONE = {
    UndoReason.LIMIT: tr("Recovery exceeded the quality limit: undone."),
    UndoReason.FAILED: tr("Recovery failed: undone."),
}


def undone(run: RunState) -> str:
    """Return what the last recovery has undone, and why; empty if nothing."""
    shots = (0, len(run.history))
    sentences = [
        _UNDONE_STEPS[each.stage] if each.stage else _UNDONE[each.reason]
        for each in run.undone
        if each.shot in shots
    ]
    return " ".join(dict.fromkeys(sentences))


def stage_times(run: RunState) -> tuple[tuple[str, str], ...]:
    """Return the total time and peak memory of each stage over all shots."""
    totals: dict[Stage, float] = {}
    for time in run.times:
        totals[time.stage] = totals.get(time.stage, 0.0) + time.seconds
    return tuple(
        (STAGES[stage][1], _time_and_memory(totals[stage], run.peaks.get(stage)))
        for stage in Stage
        if stage in totals
    )


def _time_and_memory(seconds: float, memory: MemorySampled | None) -> str:
    """Return a duration, with the peak memory if it was sampled."""
    time = numbers.duration(seconds)
    if memory is None:
        return time
    ram = numbers.size(memory.process_bytes)
    if not memory.device_total:
        return tr("{time}, {memory}").format(time=time, memory=ram)
    return tr("{time}, {memory}, GPU {gpu}").format(
        time=time, memory=ram, gpu=numbers.size(memory.device_bytes)
    )


def stage_progress(stage: Stage | None, done: int, total: int) -> str:
    """Return the activity of a stage and its progress."""
    if stage is None:
        return tr("starting…")
    doing = STAGES[stage][0]
    if stage is Stage.DAMPING and total > 1:  # it may take more than the usual ones
        return tr("{doing}, {unit} {number}").format(
            doing=doing, unit=UNITS[stage], number=done + 1
        )
    if total > 1:
        return tr("{doing}, {unit} {number} of {total}").format(
            doing=doing, unit=UNITS[stage], number=min(done + 1, total), total=total
        )
    return doing


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
    if state.model is None and not state.shows_draft:
        return StepView(Mark.READY, name)
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


def _target_view(state: AppState) -> StepView:
    return StepView(Mark.READY, brief_plan(state.config.pruning))


def _run_view(state: AppState) -> StepView:
    run = state.active_run
    match run.status:
        case Status.IDLE:
            return StepView(Mark.EMPTY, tr("Not started"))
        case Status.FINISHED:
            return StepView(Mark.READY, _finish_reason(run))
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
