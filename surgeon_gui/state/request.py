"""A question to the engine, how far the engine is with it, and what has come of it.

Knows nothing of Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.events import Cancelled, Event, Failed
from surgeon_engine.api.messages.generation import Generated
from surgeon_engine.api.messages.run import Exported, Progressed, Stage, StageStarted
from surgeon_engine.api.messages.sources import (
    ModelInspected,
    TextDescribed,
    TextPreviewed,
)

Answer = TypeVar("Answer")  # an event, or what it carries


@dataclass(frozen=True, slots=True)
class Request(Generic[Answer]):
    """One question; by default none has been asked."""

    request: str = ""  # the name under which the answer will come
    answer: Answer | None = None
    problem: Failed | None = None
    is_cancelling: bool = False
    is_cancelled: bool = False
    stage: Stage | None = None  # what the engine does for it
    done: int = 0
    total: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the answer is still to come."""
        has_ended = self.is_cancelled or self.problem is not None
        return bool(self.request) and self.answer is None and not has_ended


def with_response(request: Request[Any], event: Event) -> Request[Any]:
    """The inquiry after an event that came under its name."""
    if not request.is_open:
        return request
    match event:
        case ModelInspected(model=answer):
            return replace(request, answer=answer)
        case Generated() | TextDescribed():
            return replace(request, answer=event)
        case TextPreviewed() | Exported() | Measured() | Diagnosed():
            return replace(request, answer=event)
        case Failed():
            return replace(request, problem=event)
        case Cancelled():
            return replace(request, is_cancelled=True)
        case StageStarted(stage=stage):
            return replace(request, stage=stage, done=0, total=0)
        case Progressed(stage=stage, done=done, total=total):
            return replace(request, stage=stage, done=done, total=total)
    return request


def cancelling(request: Request[Any]) -> Request[Any]:
    """The inquiry after its end was asked for."""
    return replace(request, is_cancelling=True) if request.is_open else request
