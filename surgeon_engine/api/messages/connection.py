"""What a client and the keeper of a detached engine exchange, besides the rest.

    client                          keeper                       engine
    Attach                     -->
                               <--  Attached
    commands, Pong, Leave      -->                    commands -->
                               <--  events, Ping  <--              events

Each is a line of JSON. The keeper numbers the lines that follow `Attached`, except
`Ping`, and the client its commands. So after a lost connection both send what the other
has not received, and nothing twice. A line `Skipped` stands for several that the keeper
no longer has, because later ones replace them.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.commands import Command, ResumeRun, StartRun
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.events import (
    Cancelled,
    Event,
    Failed,
)
from surgeon_engine.api.messages.files import FilesListed, ModelsListed, RunsListed
from surgeon_engine.api.messages.generation import Generated
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.run import Exported, RunFinished
from surgeon_engine.api.messages.sources import (
    HubSearched,
    ModelDownloaded,
    ModelInspected,
    TextDescribed,
    TextPreviewed,
)

RESPONSES = (
    ModelInspected,
    ModelDownloaded,
    HubSearched,
    TextDescribed,
    TextPreviewed,
    Exported,
    Measured,
    Diagnosed,
    Generated,
    FilesListed,
    ModelsListed,
    RunsListed,
)
_FINAL_EVENTS = (*RESPONSES, MachineProbed, RunFinished, Failed, Cancelled)


class Attach(msgspec.Struct, frozen=True, tag=True):
    """The first line of a client."""

    client: str  # the same after a lost connection
    session: str = ""  # of the keeper to which the client was attached; empty: none
    received: int = 0  # lines of that session


class Pong(msgspec.Struct, frozen=True, tag=True):
    """The response to `Ping`."""

    received: int = 0  # lines of the session


class Leave(msgspec.Struct, frozen=True, tag=True):
    """The client ends the connection. An engine without work ends, too."""

    received: int  # lines
    ends_engine: bool = False  # in the middle of its work


ClientMessage = Command | Attach | Pong | Leave


def ends(command: Command | None, event: Event) -> bool:
    """Return whether an event is the last one that responds to a command."""
    is_run = isinstance(command, StartRun | ResumeRun)
    if isinstance(event, Exported) and is_run:
        return False  # a run continues after its export
    return isinstance(event, _FINAL_EVENTS)
