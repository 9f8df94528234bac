"""A question to the engine, how far the engine is with it, and what has come of it.

Knows nothing of Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.events import (
    Cancelled,
    Event,
    Failed,
)
from surgeon_engine.api.messages.generation import Generated
from surgeon_engine.api.messages.run import (
    Exported,
    Progressed,
    Stage,
    StageStarted,
)
from surgeon_engine.api.messages.sources import (
    ModelInspected,
    TextDescribed,
    TextPreviewed,
)

Answer = TypeVar("Answer")  # an event, or what it carries


@dataclass(frozen=True, slots=True)
class Inquiry(Generic[Answer]):
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


def answered(inquiry: Inquiry[Any], event: Event) -> Inquiry[Any]:
    """The inquiry after an event that came under its name."""
    if not inquiry.is_open:
        return inquiry
    match event:
        case ModelInspected(model=answer):
            return replace(inquiry, answer=answer)
        case Generated() | TextDescribed():
            return replace(inquiry, answer=event)
        case TextPreviewed() | Exported() | Measured() | Diagnosed():
            return replace(inquiry, answer=event)
        case Failed():
            return replace(inquiry, problem=event)
        case Cancelled():
            return replace(inquiry, is_cancelled=True)
        case StageStarted(stage=stage):
            return replace(inquiry, stage=stage, done=0, total=0)
        case Progressed(stage=stage, done=done, total=total):
            return replace(inquiry, stage=stage, done=done, total=total)
    return inquiry


def cancelling(inquiry: Inquiry[Any]) -> Inquiry[Any]:
    """The inquiry after its end was asked for."""
    return replace(inquiry, is_cancelling=True) if inquiry.is_open else inquiry
