"""Events from the engine: frozen values, sent as lines of JSON.

An `Envelope` adds the run and the time to an event. `events.jsonl` in the folder of a
run consists of the same lines.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.files import FileEvent
from surgeon_engine.api.messages.generation import GenerationEvent
from surgeon_engine.api.messages.judgment import Judged
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.run import RunEvent
from surgeon_engine.api.messages.sources import SourceEvent
from surgeon_engine.api.messages.vocabulary import VocabularyPreviewed
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


class EngineStarted(msgspec.Struct, frozen=True, tag=True):
    """The engine begins to load its libraries; its first line."""

    version: str  # version of Surgeon
    computer: str  # its name
    runs_folder: str  # the default


class EngineReady(msgspec.Struct, frozen=True, tag=True):
    """The engine has loaded its libraries and waits for commands."""

    versions: dict[str, str]
    device: Text  # display name of the default device


class ConnectionChanged(msgspec.Struct, frozen=True, tag=True):
    """The connection with another computer has changed; sent by the client itself."""

    status: ConnectionStatus
    computer: str
    message: Text = ""  # what is wrong
    hint: Text = ""  # what the user can do
    attempt: int = 0  # number of the attempt that follows, from 1
    attempts: int = 0  # number of attempts before it gives up


class Logged(msgspec.Struct, frozen=True, tag=True):
    """A log line."""

    level: Level
    message: Text


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request or run has failed."""

    message: Text
    hint: Text = ""  # what the user can do
    details: str = ""  # the traceback of a bug
    settings: tuple[str, ...] = ()  # one of them has to change; empty: not known


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """The user has cancelled the request or run."""


Event = (
    EngineStarted
    | EngineReady
    | ConnectionChanged
    | FileEvent
    | SourceEvent
    | VocabularyPreviewed
    | RunEvent
    | Measured
    | Diagnosed
    | GenerationEvent
    | Judged
    | MachineProbed
    | Logged
    | Failed
    | Cancelled
)


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event with its run ("" for the engine itself) and its time."""

    run: str
    at: Time
    event: Event
    # The bytes of a watched run's log up to here; see `Watch`.
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


# Bytes that mark an event of this kind in a line of a log before it is decoded.
OF_START, OF_PROGRESS, OF_MEMORY = (
    b'"type":"%s"' % kind for kind in (b"RunStarted", b"Progressed", b"MemorySampled")
)
