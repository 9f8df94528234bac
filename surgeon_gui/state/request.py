"""Requests to the engine: their kinds, progress and responses. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Generic, Self, TypeVar

from surgeon_engine.api.messages.events import Cancelled, Event, Failed
from surgeon_engine.api.messages.requests import RESPONSES
from surgeon_engine.api.messages.run import Progressed, Stage, StageStarted

Response = TypeVar("Response")  # the event that answers the request


class RequestKind(Enum):
    """The requests of the application; only the latest of each kind counts."""

    INSPECTION = "inspect"
    DOWNLOAD = "download"
    SEARCH = "search"
    DESCRIPTION = "describe"
    PREVIEW = "preview"
    VOCABULARY = "vocabulary"  # a preview of fewer tokens
    SAVE = "save"
    MEASUREMENT = "measure"
    JUDGMENT = "judge"
    DIAGNOSIS = "diagnose"
    FILES = "files"  # on another computer
    MODELS = "models"  # on another computer
    RUNS = "runs"  # on another computer


@dataclass(frozen=True, slots=True)
class Request(Generic[Response]):
    """One request; without an id, none has been made."""

    id: str = ""  # shared by the command and all its events
    response: Response | None = None
    error: Failed | None = None
    is_cancelling: bool = False
    is_cancelled: bool = False
    stage: Stage | None = None  # the engine's current stage
    done: int = 0
    total: int = 0
    folder: str = ""  # folder of the run that it is about, if any

    @property
    def is_open(self) -> bool:
        """True if the request is still in progress."""
        has_ended = self.is_cancelled or self.error is not None
        return bool(self.id) and self.response is None and not has_ended

    @property
    def can_cancel(self) -> bool:
        """True if the request is in progress and has not been cancelled yet."""
        return self.is_open and not self.is_cancelling

    def with_event(self, event: Event) -> Self:
        """Return the request after an event with its id."""
        if not self.is_open:
            return self
        match event:
            case Failed():
                return replace(self, error=event)
            case Cancelled():
                return replace(self, is_cancelled=True)
            case StageStarted(stage=stage):
                return replace(self, stage=stage, done=0, total=0)
            case Progressed(stage=stage, done=done, total=total):
                return replace(self, stage=stage, done=done, total=total)
        response: Any = event  # mypy cannot relate the event to the type parameter
        return (
            replace(self, response=response) if isinstance(event, RESPONSES) else self
        )

    def cancelling(self) -> Self:
        """Return the request after a Cancel command was sent."""
        return replace(self, is_cancelling=True) if self.is_open else self


NO_REQUEST: Request[Any] = Request()
