"""What the engine tells the outside. Plain frozen values, sent as lines of JSON.

An `Envelope` says which run an event belongs to and when it was sent; the same lines
make up `events.jsonl` in a run's folder. Imports neither torch nor Qt.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.generation import (
    Generated,
    ModelsLoaded,
    TextCompared,
    TokenWritten,
)
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Corrected,
    Exported,
    MemorySampled,
    Paused,
    Progressed,
    Resumed,
    RunFinished,
    RunStarted,
    ShotFinished,
    StageStarted,
)
from surgeon_engine.api.messages.sources import (
    Downloading,
    ModelDownloaded,
    ModelInspected,
    TextDescribed,
    TextPreviewed,
)


class Level(Enum):
    """How serious a log line is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EngineReady(msgspec.Struct, frozen=True, tag=True):
    """The engine has loaded its libraries and waits for commands."""

    versions: dict[str, str]
    device: str  # what it would compute on, in words
    memory_bytes: int  # of that device


class Logged(msgspec.Struct, frozen=True, tag=True):
    """Something worth knowing that changes no state."""

    level: Level
    message: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request or run ended early; `hint` says what the user can do about it."""

    message: str
    hint: str = ""
    details: str = ""  # a traceback, where it was a bug


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """The run ended early because the user asked for it."""


Event = (
    EngineReady
    | ModelInspected
    | Downloading
    | ModelDownloaded
    | TextDescribed
    | TextPreviewed
    | RunStarted
    | StageStarted
    | Progressed
    | BaselineEvaluated
    | ShotFinished
    | Corrected
    | Exported
    | Measured
    | MemorySampled
    | Paused
    | Resumed
    | Diagnosed
    | ModelsLoaded
    | TokenWritten
    | TextCompared
    | Generated
    | MachineProbed
    | Logged
    | RunFinished
    | Failed
    | Cancelled
)


class Envelope(msgspec.Struct, frozen=True):
    """An event with the run it belongs to ("" for the engine itself) and its time."""

    run: str
    at: float  # seconds since the epoch
    event: Event
