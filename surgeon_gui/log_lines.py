"""Which events become lines of the log, and in which words."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.events import (
    BaselineEvaluated,
    Cancelled,
    Corrected,
    EngineReady,
    Envelope,
    Exported,
    Failed,
    Level,
    Logged,
    RunFinished,
    RunStarted,
    ShotFinished,
    StageStarted,
)
from surgeon_engine.measurements import Measured, in_words
from surgeon_gui import numbers
from surgeon_gui.sentences import damping_choice
from surgeon_gui.text import STAGES


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
            return Level.WARNING, "Cancelled."
        case Exported() | Measured() as result:
            return Level.INFO, _result_in_words(result)
        case event:
            return Level.INFO, _progress_in_words(event)


def _result_in_words(event: Exported | Measured) -> str:
    if isinstance(event, Measured):
        return in_words(event)
    checked = "" if event.tokens_compared else "; nothing here could run it"
    size = numbers.size(event.bytes)
    return f"The pruned model lies in {event.folder}, {size}{checked}."


def _progress_in_words(event: object) -> str:
    match event:
        case EngineReady(device=device, versions=versions):
            with_what = ", ".join(
                f"{name} {number}" for name, number in versions.items()
            )
            return f"The engine is ready: {device}; {with_what}."
        case RunStarted(folder=folder):
            return f"The run goes to {folder}."
        case StageStarted(stage=stage, shot=shot):
            doing = STAGES[stage][0]
            return f"Shot {shot}: {doing}" if shot else doing[0].upper() + doing[1:]
        case BaselineEvaluated(evaluation=evaluation):
            value = numbers.perplexity(evaluation.perplexity)
            return f"The original's perplexity is {value}."
        case ShotFinished():
            value = numbers.perplexity(event.evaluation.perplexity)
            share = numbers.percent(event.sparsity)
            done = f"Shot {event.shot} is done: sparsity {share}, perplexity {value}"
            return "; ".join((done, *damping_choice(event.damping))) + "."
        case Corrected(lengths=lengths, evaluation=evaluation):
            if not lengths:
                return "No step along the gradient helps: the weights stay."
            value = numbers.perplexity(evaluation.perplexity)
            steps = ", ".join(f"{length:g}" for length in lengths)
            return f"Steps along the gradient ({steps} of a whole one): {value}."
        case RunFinished(seconds=seconds):
            return f"The run has finished after {numbers.duration(seconds)}."
    return ""
