"""Which events become lines of the log, and in which words."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.messages.benchmark import Measured, summarize
from surgeon_engine.api.messages.events import (
    Cancelled,
    EngineReady,
    Envelope,
    Failed,
    Level,
    Logged,
)
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Corrected,
    Exported,
    Paused,
    Resumed,
    RunFinished,
    RunStarted,
    ShotFinished,
    StageStarted,
)
from surgeon_gui.base.translation import tr
from surgeon_gui.state.step_text import damping_choice
from surgeon_gui.text import numbers
from surgeon_gui.text.labels import STAGES


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log."""

    at: float  # seconds since the epoch
    level: Level
    message: str


def log_lines(batch: list[Envelope]) -> list[LogLine]:
    """The lines of a batch of events; most events make none."""
    lines = []
    for envelope in batch:
        level, message = _words(envelope)
        if message:
            lines.append(LogLine(envelope.at, level, message))
    return lines


def _words(envelope: Envelope) -> tuple[Level, str]:
    match envelope.event:
        case Logged(level=level, message=message):
            return level, message
        case Failed(message=message, hint=hint):
            return Level.ERROR, f"{message} {hint}".strip()
        case Cancelled():
            return Level.WARNING, tr("Cancelled.")
        case Paused():
            return Level.INFO, tr("Paused.")
        case Resumed():
            return Level.INFO, tr("The run goes on.")
        case Exported() | Measured() as result:
            return Level.INFO, _describe_result(result)
        case event:
            return Level.INFO, _describe_progress(event)


def _describe_result(event: Exported | Measured) -> str:
    if isinstance(event, Measured):
        return summarize(event)
    where = tr("The pruned model lies in {folder}, {size}.")
    if not event.tokens_compared:
        where = tr(
            "The pruned model lies in {folder}, {size}; nothing here could run it."
        )
    return where.format(folder=event.folder, size=numbers.size(event.bytes))


def _describe_progress(event: object) -> str:
    match event:
        case EngineReady(device=device, versions=versions):
            parts = ", ".join(f"{name} {number}" for name, number in versions.items())
            return tr("The engine is ready: {device}; {versions}.").format(
                device=device, versions=parts
            )
        case RunStarted(folder=folder):
            return tr("The run goes to {folder}.").format(folder=folder)
        case StageStarted(stage=stage, shot=shot):
            doing = STAGES[stage][0]
            return (
                tr("Shot {shot}: {doing}").format(shot=shot, doing=doing)
                if shot
                else doing[0].upper() + doing[1:]
            )
        case BaselineEvaluated(evaluation=evaluation):
            value = numbers.perplexity(evaluation.perplexity)
            return tr("The original's perplexity is {value}.").format(value=value)
        case ShotFinished():
            value = numbers.perplexity(event.evaluation.perplexity)
            share = numbers.percent(event.sparsity)
            done = tr(
                "Shot {shot} is done: sparsity {share}, perplexity {value}"
            ).format(shot=event.shot, share=share, value=value)
            return "; ".join((done, *damping_choice(event.damping))) + "."
        case Corrected(lengths=lengths, evaluation=evaluation):
            if not lengths:
                return tr("No step along the gradient helps: the weights stay.")
            value = numbers.perplexity(evaluation.perplexity)
            steps = ", ".join(numbers.short(length) for length in lengths)
            return tr(
                "Steps along the gradient ({steps} of a whole one): {value}."
            ).format(steps=steps, value=value)
        case RunFinished(seconds=seconds):
            return tr("The run has finished after {time}.").format(
                time=numbers.duration(seconds)
            )
    return ""
