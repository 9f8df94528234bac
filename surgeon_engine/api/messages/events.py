"""Events from the engine: frozen values, sent as lines of JSON.

An `Envelope` adds the run and the time to an event. `events.jsonl` in the folder of a
run consists of the same lines.
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
    Exported,
    HeldOutMeasured,
    MemorySampled,
    Paused,
    Progressed,
    Recovered,
    RecoveryUndone,
    Resumed,
    RunFinished,
    RunResumed,
    RunStarted,
    SampleWritten,
    ShotFinished,
    StageStarted,
)
from surgeon_engine.api.messages.sources import (
    Downloading,
    HubSearched,
    ModelDownloaded,
    ModelInspected,
    TextDescribed,
    TextPreviewed,
)


class Level(Enum):
    """Severity of a log line."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EngineReady(msgspec.Struct, frozen=True, tag=True):
    """The engine has loaded its libraries and waits for commands."""

    versions: dict[str, str]
    device: str  # display name of the default device
    memory_bytes: int  # of that device


class Logged(msgspec.Struct, frozen=True, tag=True):
    """A log line."""

    level: Level
    message: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request or run has failed."""

    message: str
    hint: str = ""  # what the user can do
    details: str = ""  # the traceback of a bug


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """The user has cancelled the request or run."""


Event = (
    EngineReady
    | ModelInspected
    | Downloading
    | ModelDownloaded
    | HubSearched
    | TextDescribed
    | TextPreviewed
    | RunStarted
    | RunResumed
    | StageStarted
    | Progressed
    | BaselineEvaluated
    | ShotFinished
    | SampleWritten
    | HeldOutMeasured
    | Recovered
    | RecoveryUndone
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
    """An event with its run ("" for the engine itself) and its time."""

    run: str
    at: float  # seconds since the epoch
    event: Event
