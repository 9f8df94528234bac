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
from surgeon_engine.api.messages.lines import run_line
from surgeon_engine.api.messages.run import HeldOutMeasured, Paused, Resumed
from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers


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
        case Measured() as measured:
            return Level.INFO, summarize(measured, numbers.size)
        case EngineReady(device=device, versions=versions):
            parts = ", ".join(f"{name} {number}" for name, number in versions.items())
            text = tr("Engine ready: {device}; {versions}.")
            return Level.INFO, text.format(device=device, versions=parts)
        case HeldOutMeasured(done=done, total=total, nats=found):
            nats = numbers.significant(found, 3)
            text = tr("Training step {done} of {total}: {nats} nats from the original.")
            return Level.INFO, text.format(done=done, total=total, nats=nats)
        case event:
            line = run_line(event)
            return Level.INFO, line[:1].upper() + line[1:]


def _describe_connection(changed: ConnectionChanged) -> tuple[Level, str]:
    if changed.status is ConnectionStatus.CONNECTED:
        text = tr("Connected with {computer}.").format(computer=changed.computer)
        return Level.INFO, text
    level = Level.WARNING if changed.status is ConnectionStatus.LOST else Level.ERROR
    return level, f"{changed.message} {changed.hint}".strip()
