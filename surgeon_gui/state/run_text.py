"""Texts about the state of a run: its outcome, remaining time, stages, samples.

Pure functions of the state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.lines import damping_clauses
from surgeon_engine.api.messages.run import (
    LayerSparsity,
    Stage,
    UndoReason,
    step_left_out,
)
from surgeon_engine.api.messages.sources import ModelSummary, is_shared_expert
from surgeon_engine.api.saved_state import ResumePoint
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import (
    BLOCK,
    LONG_BLOCK,
    FileForm,
    planned_file,
)
from surgeon_engine.planning.target_size import TARGET_TOLERANCE, Goal
from surgeon_gui.base.translation import tr
from surgeon_gui.state import eta
from surgeon_gui.state.job.file_formats import leaves_zeros
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.verdict import deciding_text, perplexities
from surgeon_gui.text import fidelity, numbers
from surgeon_gui.text.judgments import Answer
from surgeon_gui.text.labels import STAGES, UNITS

_SIZE_TOLERANCE = 0.01  # relative to the planned size of a file
_ROUNDING = 1e-9  # tolerance of a sparsity


def run_ending(run: RunState) -> str:
    """Return how a run ended, as a sentence."""
    match run.status:
        case Status.FINISHED:
            return outcome(run)
        case Status.FAILED:
            return tr("The run failed.")
        case Status.CANCELLED:
            return tr("The run was canceled.")
        case Status.INTERRUPTED:
            done, shots = len(run.history), max(run.shots, len(run.history))
            text = tr("The run was interrupted after {done} of {shots} shots.")
            return text.format(done=done, shots=shots)
    return ""


def outcome(run: RunState) -> str:
    """Return the result of a finished run as a sentence; its figures are the file's."""
    found = deciding_text(run)
    before, after = perplexities(run, found)
    if before is None or after is None or run.model is None:
        return tr("The run finished.")
    text = tr(
        "{how}: {left} of {all} parameters remain, perplexity {before} → {after}."
    )
    words = measured_on = ""
    if found is not None:
        words, measured_on = fidelity.summary(found), fidelity.text_phrase(found.text)
        text = tr(
            "{how}: {fidelity}, perplexity {before} → {after} on {text}; {left} of "
            "{all} parameters remain."
        )
    return text.format(
        how=unusual_end(run) or tr("Finished"),
        left=numbers.count(run.history[-1].parameters),
        all=numbers.count(run.model.parameters),
        fidelity=words,
        text=measured_on,
        before=numbers.perplexity(before),
        after=numbers.perplexity(after),
    )


def cancel_note(run: RunState, now: float, *, is_saved: bool) -> str:
    """Return what is kept of a run that is canceled now."""
    if run.computer:
        kept = tr("What {computer} has saved of it is kept.")
        kept = kept.format(computer=run.computer)
    elif is_saved:
        kept = tr("Its progress up to the last save is kept: you can resume it.")
    else:
        time = numbers.duration(run.seconds(now))
        kept = tr("It has taken {time}, and nothing is saved yet.").format(time=time)
    if run.can_stop:
        kept += " " + tr("“Finish here” writes the model as it is now.")
    return kept


def continuation(place: ResumePoint | None, config: RunConfig | None) -> str:
    """Return where a run goes on from its saved state; empty if that is not known."""
    if place is None or config is None:
        return ""
    if not place.done and place.stage is not Stage.EXPORT:
        return ""
    texts: dict[Stage | None, str] = {
        None: tr("It goes on after shot {done} of {total}."),
        Stage.REFIT: tr("It goes on after block {done} of {total}."),
        Stage.DISTILLATION: tr("It goes on after {share} of the training."),
        Stage.EXPORT: tr("It goes on by writing the model."),
    }
    if place.stage is Stage.REFIT and place.done == place.total:
        return tr("It goes on after the refit.")
    total = place.total or max(place.done, config.pruning.shots)
    share = numbers.percent(place.done / total)
    return texts[place.stage].format(done=place.done, total=total, share=share)


def unusual_end(run: RunState) -> str:
    """Return why a run has finished before its target; "" if it reached it."""
    if run.result is not None and run.result.stopped_early:
        done = len(run.history)
        if run.recovered is not None and not _ends_before_target(run):
            return tr("Stopped during recovery")
        return tr("Stopped after shot {shot} of {shots}").format(
            shot=done, shots=max(run.shots, done)
        )
    is_limited = run.config is not None and run.config.pruning.has_quality_limit
    if is_limited and _ends_before_target(run):
        return tr("Ended at the quality limit after shot {shot}").format(
            shot=len(run.history)
        )
    return missed_target(run)


def _ends_before_target(run: RunState) -> bool:
    """Return whether the last shot is not the one that was to reach the target."""
    goal = _goal(run)
    return goal is not None and run.history[-1].target < goal.sparsity - _ROUNDING


def missed_target(run: RunState) -> str:
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


def nothing_removed(run: RunState) -> str:
    """Return that no weights of the layers are removed; empty if some are."""
    if any(layer.removed for layer in run.layers):
        return ""
    return tr("No weights of the layers are removed.")


def no_token_removed(run: RunState) -> str:
    """Return that no token is removed though some were to be; empty: else."""
    if run.config is None or run.tokens is not None:
        return ""
    if run.config.pruning.chooses_tokens:
        return tr("No token was removed, as other parts cost less for their size.")
    return tr("No token was removed.") if run.config.pruning.removes_tokens else ""


def has_planned_size(run: RunState) -> bool:
    """Return True if the file is about as small as planned, or smaller."""
    goal = _goal(run)
    if goal is None or run.config is None or run.exported is None:
        return False
    if leaves_zeros(run.config):
        return False
    return run.exported.weight_bytes <= (1 + _SIZE_TOLERANCE) * goal.weight_bytes


def planned_export(run: RunState, export: ExportConfig) -> tuple[FileForm, int] | None:
    """Return the form and the bytes of a further export; None: unknown."""
    goal = _goal(run)
    if goal is None or run.config is None or run.model is None:
        return None
    job = replace(run.config, export=export)
    form = file_form(job, run.model)
    removed, pruning = goal.removed_at(run.history[-1].parameters), job.pruning
    tokens = run.tokens.after if run.tokens is not None else None
    if form.format is Format.GGUF:
        multiple, zeros = _filled_up(run.model, run.layers)
        multiple = math.gcd(multiple, LONG_BLOCK) if multiple else 0
        pruning, removed = replace(pruning, width_multiple=multiple), removed - zeros
    file = planned_file(run.model, form, pruning, tokens)
    return form, file.bytes(0 if leaves_zeros(job) else removed)


def _filled_up(model: ModelSummary, layers: Sequence[LayerSparsity]) -> tuple[int, int]:
    """Return the common divisor of the MLP widths in a GGUF file, and its zeros.

    Neurons of zeros fill up the MLPs to whole blocks of numbers. In some families, they
    fill shared experts to a multiple of the width of other experts.
    """
    by_name, zeros = {each.name: each for each in layers}, 0
    experts = [(x.neurons.of, x.neurons.kept) for x in layers if x.neurons]
    multiple = math.gcd(*(n for widths in experts for n in widths))
    whole = max((each.neurons for each in model.experts), default=0)
    for mlp in model.coupled:
        if mlp.kind is not Coupling.NEURONS:
            continue
        unit = BLOCK if mlp.groups % BLOCK == 0 else 1
        if is_shared_expert(mlp.layers[0]):
            others = experts[0][1] if experts else whole
            unit = max(1, others * model.fills_shared)
        groups = by_name[mlp.layers[0]].groups
        kept = groups.kept if groups else mlp.groups
        added = -kept % unit
        multiple = math.gcd(multiple, mlp.groups, kept + added)
        zeros += sum(by_name[x].weights for x in mlp.layers) // mlp.groups * added
    return multiple, zeros


def _goal(run: RunState) -> Goal | None:
    if run.config is None or run.model is None or not run.history:
        return None
    tokens = run.tokens.after if run.tokens is not None else None
    return goal_or_none(run.config, run.model, tokens)


def remaining(run: RunState, now: float) -> str:
    """Return the estimated remaining time, or the time that the run took."""
    if run.status in (Status.IDLE, Status.CANCELLING):
        return ""
    if not run.status.is_busy:
        return tr("took {time}").format(time=numbers.duration(run.seconds(now)))
    countdown, seconds = run.countdown, run.remaining_seconds(now)
    if seconds is None:
        return "" if run.status is Status.PAUSED else tr("estimating time left…")
    if seconds < 1 and run.status is Status.RUNNING:
        return tr("nearly done")
    if countdown is None:
        countdown = eta.followed(None, seconds, run.clock(now))
    left = numbers.readable_duration(countdown.shown)
    if run.status is Status.PAUSED:
        return tr("about {time} left after resuming").format(time=left)
    planned = sum(run.planned.values())
    is_late = eta.is_late(planned, run.seconds(now), countdown.seconds)
    if is_late and run.status is not Status.STOPPING:
        return tr("about {time} left, longer than planned").format(time=left)
    return tr("about {time} left").format(time=left)


def last_choice(run: RunState) -> str:
    """Return the damping of the last shot in one or two lines; "" if there is none."""
    if not run.history or run.history[-1].damping is None:
        return ""
    last = run.history[-1]
    first, *others = damping_clauses(last.damping)
    line = tr("Shot {shot}: {doing}").format(shot=last.shot, doing=first)
    second_line = "; ".join(others)
    return f"{line}\n{second_line[:1].upper()}{second_line[1:]}".rstrip()


_UNDONE = {
    UndoReason.LIMIT: tr("Recovery exceeded the quality limit: undone."),
    UndoReason.FAILED: tr("Recovery failed: undone."),
}


def steps_left_out(run: RunState) -> str:
    """Return which steps of the last recovery gained nothing; empty if none."""
    shots = (0, len(run.history))
    stages = [each.stage for each in run.undone if each.shot in shots]
    sentences = [step_left_out(stage) for stage in stages if stage is not None]
    return " ".join(dict.fromkeys(sentences))


def undone(run: RunState) -> str:
    """Return why the whole recovery was undone; empty if it was not."""
    shots = (0, len(run.history))
    found = [x.reason for x in run.undone if x.stage is None and x.shot in shots]
    return " ".join(dict.fromkeys(_UNDONE[reason] for reason in found))


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


def sample_pair(run: RunState) -> tuple[Answer, str] | None:
    """Return what both models have written last, and when the pruned one has.

    None: nothing has been written, and nothing will. Texts that are still to come are
    empty.
    """
    config = run.config
    if config is None:
        return None
    original = next((x.text for x in run.samples if x.shot == 0), "")
    pruned = [sample for sample in run.samples if sample.shot]
    is_awaited = run.status.is_busy and config.samples.after_shots
    if not pruned and not is_awaited:
        return None
    title, text = tr("Now"), ""
    if pruned:
        last, text = pruned[-1], pruned[-1].text
        title = tr("After shot {n}").format(n=last.shot)
        if last.is_recovered:
            title = tr("After recovery")
    return Answer(config.samples.prompt, original, text), title
