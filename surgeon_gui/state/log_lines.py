"""Convert events to lines of the log."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.messages.benchmark import Measured, summarize
from surgeon_engine.api.messages.events import (
    Cancelled,
    ConnectionChanged,
    ConnectionStatus,
    EngineReady,
    Envelope,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    HeldOutMeasured,
    Paused,
    Recovered,
    RecoveryUndone,
    Resumed,
    RunFinished,
    RunResumed,
    RunStarted,
    ShotFinished,
    StageStarted,
    TokensRemoved,
    step_left_out,
)
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.job.vocabulary_text import tokens_phrase
from surgeon_gui.state.run_text import damping_choice
from surgeon_gui.text import fidelity, numbers
from surgeon_gui.text.labels import STAGES


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log."""

    at: float  # seconds since the epoch
    level: Level
    message: str


def log_lines(batch: list[Envelope]) -> list[LogLine]:
    """Return the lines of a batch of events; most events have none."""
    lines = []
    for envelope in batch:
        level, message = _describe(envelope)
        if message:
            lines.append(LogLine(envelope.at, level, message))
    return lines


def _describe(envelope: Envelope) -> tuple[Level, str]:
    match envelope.event:
        case Logged(level=level, message=message):
            return level, message
        case Failed(message=message, hint=hint):
            return Level.ERROR, f"{message} {hint}".strip()
        case Cancelled():
            return Level.WARNING, tr("Canceled.")
        case Paused():
            return Level.INFO, tr("Paused.")
        case Resumed():
            return Level.INFO, tr("Resumed.")
        case ConnectionChanged() as changed:
            return _describe_connection(changed)
        case Exported() | Measured() as result:
            return Level.INFO, describe_result(result)
        case event:
            return Level.INFO, _describe_progress(event)


def _describe_connection(changed: ConnectionChanged) -> tuple[Level, str]:
    if changed.status is ConnectionStatus.CONNECTED:
        text = tr("Connected with {computer}.").format(computer=changed.computer)
        return Level.INFO, text
    level = Level.WARNING if changed.status is ConnectionStatus.LOST else Level.ERROR
    return level, f"{changed.message} {changed.hint}".strip()


def describe_result(event: Exported | Measured) -> str:
    """Return where a model was saved, or its speed, as a sentence."""
    if isinstance(event, Measured):
        return summarize(event, numbers.size)
    text = tr("Pruned model saved to {folder} ({size}).")
    if not event.tokens_compared:
        text = tr(
            "Pruned model saved to {folder} ({size}). No program on this computer can "
            "run it."
        )
    return text.format(folder=event.folder, size=numbers.size(event.weight_bytes))


def _describe_progress(event: object) -> str:
    match event:
        case EngineReady(device=device, versions=versions):
            parts = ", ".join(f"{name} {number}" for name, number in versions.items())
            return tr("Engine ready: {device}; {versions}.").format(
                device=device, versions=parts
            )
        case RunResumed(shots=shots):
            return ntr(
                "The run goes on after {n} shot.",
                "The run goes on after {n} shots.",
                shots,
            ).format(n=shots)
        case RunStarted(folder=folder):
            return tr("Run folder: {folder}.").format(folder=folder)
        case StageStarted(stage=stage, shot=shot):
            doing = STAGES[stage][0]
            return (
                tr("Shot {shot}: {doing}").format(shot=shot, doing=doing)
                if shot
                else doing[0].upper() + doing[1:]
            )
        case BaselineEvaluated(evaluation=evaluation):
            value = numbers.perplexity(evaluation.perplexity)
            return tr("Original perplexity: {value}.").format(value=value)
        case TokensRemoved(before=before, after=after):
            return tr("Vocabulary: {tokens}.").format(
                tokens=tokens_phrase(before, after)
            )
        case ShotFinished():
            return _shot_line(event)
        case HeldOutMeasured() | Recovered() | RecoveryUndone():
            return _recovery_line(event)
        case RunFinished(seconds=seconds):
            return tr("The run finished after {time}.").format(
                time=numbers.duration(seconds)
            )
    return ""


def _shot_line(event: ShotFinished) -> str:
    share, brief = numbers.percent(event.sparsity), ""
    summary = tr("Shot {shot} finished: sparsity {share}")
    if (found := event.evaluation) is not None:
        summary = tr("Shot {shot} finished: sparsity {share}, perplexity {value}")
        value = numbers.perplexity(found.perplexity)
        summary = summary.format(shot=event.shot, share=share, value=value)
        brief = fidelity.brief(found)
    else:
        summary = summary.format(shot=event.shot, share=share)
    clauses = (summary, brief, *damping_choice(event.damping))
    return "; ".join(filter(None, clauses)) + "."


def _recovery_line(event: HeldOutMeasured | Recovered | RecoveryUndone) -> str:
    if isinstance(event, RecoveryUndone):
        # A message says why a whole recovery was undone.
        return "" if event.stage is None else step_left_out(event.stage)
    if isinstance(event, HeldOutMeasured):
        return tr(
            "Training step {done} of {total}: {nats} nats from the original."
        ).format(
            done=event.done,
            total=event.total,
            nats=numbers.significant(event.nats, 3),
        )
    text = tr(
        "Recovery: from {before} to {after} nats from the original on windows that it "
        "holds out, perplexity {value}."
    ).format(
        before=numbers.significant(event.nats_before, 3),
        after=numbers.significant(event.nats_after, 3),
        value=numbers.perplexity(event.evaluation.perplexity),
    )
    brief = fidelity.brief(event.evaluation)
    return f"{text} {brief}." if brief else text
