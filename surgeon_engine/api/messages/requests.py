"""Requests to an engine: when they end, and how another engine goes on with them."""

from __future__ import annotations

from typing import get_args

import msgspec

from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.commands import Command, ResumeRun, StartRun, Watch
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.events import Cancelled, Envelope, Event, Failed
from surgeon_engine.api.messages.files import FileEvent
from surgeon_engine.api.messages.generation import Generated
from surgeon_engine.api.messages.judgment import Judged
from surgeon_engine.api.messages.machine import MachineProbed
from surgeon_engine.api.messages.run import Exported, RunFinished
from surgeon_engine.api.messages.sources import (
    HubSearched,
    ModelDownloaded,
    ModelInspected,
    TextDescribed,
    TextPreviewed,
)
from surgeon_engine.api.messages.vocabulary import VocabularyPreviewed

RUN_ENDS = (RunFinished, Failed, Cancelled)
RESPONSES = (
    ModelInspected,
    ModelDownloaded,
    HubSearched,
    TextDescribed,
    TextPreviewed,
    VocabularyPreviewed,
    Exported,
    Measured,
    Diagnosed,
    Generated,
    Judged,
    *get_args(FileEvent),
)
_ENDS = (*RESPONSES, MachineProbed, *RUN_ENDS)


def is_watched(command: Command) -> bool:
    """Return whether a command concerns a run that needs no engine."""
    return isinstance(command, Watch) or (
        isinstance(command, StartRun | ResumeRun) and command.detached
    )


def ends(command: Command | None, event: Event) -> bool:
    """Return whether an event is the last one that responds to a command."""
    if isinstance(command, StartRun | ResumeRun | Watch):
        return isinstance(event, RUN_ENDS)  # it continues after its export
    return isinstance(event, _ENDS)


def after(command: Command, envelope: Envelope) -> Command | None:
    """Return the command with which another engine goes on after an event.

    That is the same one, unless a run is watched. None: the request has ended.
    """
    if ends(command, envelope.event):
        return None
    if isinstance(command, Watch):
        return msgspec.structs.replace(command, offset=envelope.offset)
    if isinstance(command, StartRun | ResumeRun) and command.detached:
        return Watch(run=command.run, folder=command.folder, offset=envelope.offset)
    return command
