"""Events from the engine: frozen values, sent as lines of JSON.

An `Envelope` adds the run and the time to an event. `events.jsonl` in the folder of a
run consists of the same lines.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.commands import StartRun
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.files import FilesListed, ModelsListed, RunsListed
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
from surgeon_engine.base.decoding import Time
from surgeon_engine.base.sentences import Text


class Level(Enum):
    """Severity of a log line."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ConnectionStatus(Enum):
    """The status of the connection with another computer."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"  # it is tried again
    FAILED = "failed"  # it is tried again when the user asks for it


class EngineReady(msgspec.Struct, frozen=True, tag=True):
    """The engine has loaded its libraries and waits for commands."""

    versions: dict[str, str]
    device: str  # display name of the default device
    memory_bytes: int  # of that device


class Attached(msgspec.Struct, frozen=True, tag=True):
    """The keeper of a detached engine has accepted a client; its first line.

    A client that was attached to this session before gets the lines that it has not
    received. Another one gets those since the start of the run that is in progress, or
    that has ended while no client was there.
    """

    session: str  # of the keeper
    version: str  # of Surgeon
    computer: str  # its name
    home: str  # folder of the user
    runs_folder: str  # the default
    next: int  # number of the line that follows
    is_known: bool = False  # the client was the latest one of this session
    accepted: int = 0  # commands of this client so far
    run: StartRun | None = None  # the run whose lines follow
    began: Time = 0.0  # the time of that command
    earlier: tuple[Envelope, ...] = ()  # of a resumed run, without its progress
    ready: EngineReady | None = None  # None: the engine is being started


class Ping(msgspec.Struct, frozen=True, tag=True):
    """The keeper asks a client to respond with `Pong`."""


class Skipped(msgspec.Struct, frozen=True, tag=True):
    """Lines of a detached engine that later ones replace are left out here."""

    lines: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The keeper does not accept a client."""

    message: Text
    hint: Text


class EngineEnded(msgspec.Struct, frozen=True, tag=True):
    """A detached engine has ended unexpectedly; the last line of its keeper."""

    message: Text
    details: str  # its last error output


class ConnectionChanged(msgspec.Struct, frozen=True, tag=True):
    """The connection with another computer has changed; sent by the client itself."""

    status: ConnectionStatus
    computer: str
    message: Text = ""  # what is wrong
    hint: Text = ""  # what the user can do
    attempt: int = 0  # that follows, counted from 1
    attempts: int = 0  # after which it is not tried again


class Logged(msgspec.Struct, frozen=True, tag=True):
    """A log line."""

    level: Level
    message: Text


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request or run has failed."""

    message: Text
    hint: Text = ""  # what the user can do
    details: str = ""  # the traceback of a bug


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """The user has cancelled the request or run."""


Event = (
    EngineReady
    | Attached
    | Ping
    | Skipped
    | Refused
    | EngineEnded
    | ConnectionChanged
    | FilesListed
    | ModelsListed
    | RunsListed
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
    at: Time
    event: Event
