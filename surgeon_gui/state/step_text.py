"""What the window says about a particular state: the steps, the phase, the figures.

Pure functions from a state to words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.messages.run import DampingChoice, MemorySampled, Stage
from surgeon_engine.api.planning.target_size import MISSED, Goal
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState, Engine, Step
from surgeon_gui.state.job import resource_text as fits
from surgeon_gui.state.job.plan_text import in_brief, plan
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.sources.resolver import is_to_be_downloaded
from surgeon_gui.state.sources.text import download_brief
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import STAGES, UNITS, source_name

_ROUNDING = 1e-9  # of a sparsity


class Mark(Enum):
    """How a step stands."""

    EMPTY = "empty"  # nothing there yet
    BUSY = "busy"
    READY = "ready"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class StepView:
    """What the header of a step shows."""

    mark: Mark
    summary: str


def step_view(state: AppState, step: Step) -> StepView:
    """The header of a step."""
    views = {
        Step.MODEL: _model_view,
        Step.CALIBRATION: _calibration_view,
        Step.TARGET: _target_view,
        Step.RUN: _run_view,
    }
    if step is Step.EXPORT:
        return _export_view(state)
    if step is Step.MODEL and (view := _hub_view(state)) is not None:
        return view
    problem = state.problems.get(step)
    if step is Step.CALIBRATION and state.preview.problem is not None:
        problem = problem or state.preview.problem.message
    if problem and (state.model_is_chosen or step is not Step.MODEL):
        return StepView(Mark.PROBLEM, problem)
    return views[step](state)


def plan_or_invitation(state: AppState, obstacle: str) -> str:
    """The plan of the run under way or of the draft, or what is missing for one."""
    run = state.run
    if run.status.is_busy and run.config is not None:
        model = run.model or state.model
        if model is not None:
            return plan(run.config, model)
        return tr("{source} is being loaded.").format(
            source=source_name(run.config.model.source)
        )
    if not state.model_is_chosen:
        return tr("Choose a model to begin.")
    if obstacle:
        return obstacle
    assert state.model is not None
    sentence = f"{plan(state.config, state.model)} {fits.in_brief(state.fit)}".strip()
    return (
        tr("Next run: {sentence}").format(sentence=sentence)
        if state.shows_run
        else sentence
    )


def phase(run: RunState) -> str:
    """What the engine is doing for the run."""
    match run.status:
        case Status.IDLE:
            return ""
        case Status.CANCELLING:
            return tr("Cancelling…")
        case Status.FINISHED:
            return outcome(run)
        case Status.FAILED:
            return tr("The run has failed.")
        case Status.CANCELLED:
            return tr("The run was cancelled.")
        case Status.INTERRUPTED:
            return interruption(run)
    return _frame(run).format(doing=_doing(run))


def _frame(run: RunState) -> str:
    """What is said around what the engine is doing."""
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


def _doing(run: RunState) -> str:
    """What the engine is doing, and in which shot."""
    doing = doing_now(run.stage, run.done, run.total)
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
    """What came of a finished run, in a sentence."""
    if run.evaluation is None or run.baseline is None or run.model is None:
        return tr("The run has finished.")
    last = run.history[-1]
    return tr(
        "{how}: {left} of {all} parameters remain, perplexity {before} → {after}."
    ).format(
        how=_how_it_finished(run),
        left=numbers.count(last.parameters),
        all=numbers.count(run.model.parameters),
        before=numbers.perplexity(run.baseline.perplexity),
        after=numbers.perplexity(run.evaluation.perplexity),
    )


def interruption(run: RunState) -> str:
    """That a run has not ended but is over, and how far it was."""
    done, shots = len(run.history), max(run.shots, len(run.history))
    words = tr("The run was interrupted after {done} of {shots} shots.")
    return words.format(done=done, shots=shots)


def _how_it_finished(run: RunState) -> str:
    if run.result is not None and run.result.stopped_early:
        done = len(run.history)
        return tr("Stopped after shot {shot} of {shots}").format(
            shot=done, shots=max(run.shots, done)
        )
    if _ended_at_quality_limit(run):
        return tr("Ended at the quality limit after shot {shot}").format(
            shot=len(run.history)
        )
    return _what_is_missing(run) or tr("Finished")


def _ended_at_quality_limit(run: RunState) -> bool:
    if run.config is None or not run.config.pruning.max_perplexity_increase:
        return False
    goal = _goal(run)
    return goal is not None and run.history[-1].target < goal.sparsity - _ROUNDING


def _what_is_missing(run: RunState) -> str:
    """That less went than was to go, and why; empty where it did not."""
    goal = _goal(run)
    if goal is None or goal.sparsity - run.history[-1].sparsity <= MISSED:
        return ""
    return tr(
        "Finished at {reached} and not {asked}, as what would have gone next is larger "
        "than what was missing"
    ).format(
        reached=numbers.percent(run.history[-1].sparsity, decimals=2),
        asked=numbers.percent(goal.sparsity, decimals=2),
    )


def _goal(run: RunState) -> Goal | None:
    if run.config is None or run.model is None or not run.history:
        return None
    return goal_or_none(run.config, run.model)


def remaining(run: RunState, now: float) -> str:
    """How long the run will still take."""
    if run.status in (Status.IDLE, Status.CANCELLING):
        return ""
    if not run.status.is_busy:
        return tr("took {time}").format(time=numbers.duration(run.seconds(now)))
    seconds = run.remaining_seconds(now)
    if seconds is None:
        return "" if run.status is Status.PAUSED else tr("estimating time left…")
    left = numbers.whole_duration(seconds)
    if run.status is Status.PAUSED:
        return tr("about {time} left once it goes on").format(time=left)
    return tr("about {time} left").format(time=left)


def damping_choice(choice: DampingChoice | None) -> tuple[str, ...]:
    """What a shot went by, as clauses; none where its method damps nothing."""
    if choice is None:
        return ()
    how = (
        tr("of {tried} that were tried").format(tried=choice.tried)
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
    if choice.held_out_loss is not None:
        loss = numbers.perplexity(choice.held_out_loss)
        clauses.append(tr("loss {loss} on held-out windows").format(loss=loss))
    return tuple(clauses)


def last_choice(run: RunState) -> str:
    """What the last shot of a run went by, in one or two lines; empty if nothing."""
    if not run.history or run.history[-1].damping is None:
        return ""
    last = run.history[-1]
    first, *others = damping_choice(last.damping)
    below = "; ".join(others)
    above = tr("Shot {shot}: {doing}").format(shot=last.shot, doing=first)
    return f"{above}\n{below[:1].upper()}{below[1:]}".rstrip()


def stage_times(run: RunState) -> tuple[tuple[str, str], ...]:
    """How long each stage has taken so far, over all shots, and the most memory."""
    totals: dict[Stage, float] = {}
    for time in run.times:
        totals[time.stage] = totals.get(time.stage, 0.0) + time.seconds
    return tuple(
        (STAGES[stage][1], _taken(totals[stage], run.peaks.get(stage)))
        for stage in Stage
        if stage in totals
    )


def _taken(seconds: float, memory: MemorySampled | None) -> str:
    """A time and, where it was measured in it, the most memory."""
    time = numbers.duration(seconds)
    if memory is None:
        return time
    ram = numbers.size(memory.process_bytes)
    if not memory.device_total:
        return tr("{time}, {memory}").format(time=time, memory=ram)
    return tr("{time}, {memory}, GPU {gpu}").format(
        time=time, memory=ram, gpu=numbers.size(memory.device_bytes)
    )


def doing_now(stage: Stage | None, done: int, total: int) -> str:
    """What the engine does in a stage, and how far it is."""
    if stage is None:
        return tr("starting…")
    words = STAGES[stage][0]
    if total > 1:
        return tr("{doing}, {unit} {number} of {total}").format(
            doing=words, unit=UNITS[stage], number=min(done + 1, total), total=total
        )
    return words


def _hub_view(state: AppState) -> StepView | None:
    """While the model is on its way, or has yet to be sent for."""
    source = state.config.model.source
    if not state.model_is_chosen or not is_to_be_downloaded(source):
        return None
    if state.download.is_open and state.download.source == source:
        return StepView(Mark.BUSY, download_brief(state.download))
    words = tr("{name}: not downloaded yet").format(name=source_name(source))
    return StepView(Mark.EMPTY, words)


def _model_view(state: AppState) -> StepView:
    if not state.model_is_chosen:
        return StepView(Mark.EMPTY, tr("Choose a model"))
    name = source_name(state.config.model.source)
    if state.inspection.problem is not None:
        return StepView(Mark.PROBLEM, state.inspection.problem.message)
    if state.model is None:
        waits = state.engine is Engine.STARTING
        doing = tr("waiting for the engine…") if waits else tr("reading…")
        return StepView(Mark.BUSY, f"{name}: {doing}")
    size = numbers.count(state.model.parameters)
    return StepView(
        Mark.READY, tr("{name}, {size} parameters").format(name=name, size=size)
    )


def _calibration_view(state: AppState) -> StepView:
    text = state.config.calibration
    name = source_name(text.text)
    if text.takes_whole_file:
        brief = tr("{text}, all of its windows").format(text=name)
    else:
        brief = tr("{text}, {windows} windows of {length}").format(
            text=name, windows=text.windows, length=text.window_length
        )
    return StepView(Mark.READY, brief)


def _target_view(state: AppState) -> StepView:
    return StepView(Mark.READY, in_brief(state.config.pruning))


def _run_view(state: AppState) -> StepView:
    match state.run.status:
        case Status.IDLE:
            return StepView(Mark.EMPTY, tr("Not started"))
        case Status.FINISHED:
            return StepView(Mark.READY, _how_it_finished(state.run))
        case Status.FAILED:
            return StepView(Mark.PROBLEM, tr("Failed"))
        case Status.CANCELLED:
            return StepView(Mark.EMPTY, tr("Cancelled"))
        case Status.INTERRUPTED:
            return StepView(Mark.PROBLEM, tr("Interrupted"))
    share = numbers.percent(int(state.run.progress * 100) / 100)
    if state.run.status is Status.PAUSED:
        return StepView(Mark.BUSY, tr("Paused at {share}").format(share=share))
    return StepView(Mark.BUSY, tr("Running, {share}").format(share=share))


def _export_view(state: AppState) -> StepView:
    run, save = state.run, state.save
    if run.export_has_failed and run.error is not None:
        return StepView(
            Mark.PROBLEM, tr("Failed: {message}").format(message=run.error.message)
        )
    if run.is_exporting:
        return StepView(Mark.BUSY, tr("Writing and checking the pruned model…"))
    if save.is_open:
        return StepView(Mark.BUSY, tr("Saving in another format…"))
    if state.measurement.is_open:
        return StepView(Mark.BUSY, tr("Measuring speed…"))
    if save.problem is not None:
        return StepView(
            Mark.PROBLEM,
            tr("Not saved: {message}").format(message=save.problem.message),
        )
    if run.exported is not None and run.status is Status.FINISHED:
        size = numbers.size(run.exported.weight_bytes)
        words = tr("{size}, checked")
        if not run.exported.tokens_compared:
            words = tr("{size}, not run")
        return StepView(Mark.READY, words.format(size=size))
    if problem := state.problems.get(Step.EXPORT):
        return StepView(Mark.PROBLEM, problem)
    export = state.config.export
    where = (
        source_name(export.folder) if export.folder else tr("Inside the run's folder")
    )
    if export.format is not Format.AUTOMATIC:
        where = f"{choice_label(export.format)[0]}; {where}"
    return StepView(Mark.EMPTY, where)
