"""Files, models and runs of the engine's computer, for a window on another one."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Count
from surgeon_engine.base.decoding import Time

MAX_ENTRIES = 2_000  # entries of a list; a window shows them all
MAX_RUNS = 200


class FileKind(Enum):
    """The kind of an entry of a folder."""

    FOLDER = "folder"
    MODEL = "model"  # a folder with a config.json, or a .gguf file
    FILE = "file"


class FileEntry(msgspec.Struct, frozen=True):
    """An entry of a folder."""

    name: str
    kind: FileKind
    bytes: int = 0  # size of a file


class FilesListed(msgspec.Struct, frozen=True, tag=True):
    """Response to `ListFiles`."""

    folder: str  # absolute
    parent: str  # absolute; empty: it is the top
    # Folders first.
    entries: Annotated[tuple[FileEntry, ...], msgspec.Meta(max_length=MAX_ENTRIES)]
    omitted: int = 0  # entries beyond the limit, or whose names are no text


class ModelsListed(msgspec.Struct, frozen=True, tag=True):
    """Response to `ListModels`."""

    # Names of the Hub, sorted.
    sources: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_ENTRIES)]


class RunOutcome(Enum):
    """Outcome of a run, as its files tell."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"  # it can be resumed
    ENDED = "ended"  # failed, cancelled, or without a saved state


class RunEntry(msgspec.Struct, frozen=True):
    """A run in the runs folder of a computer."""

    folder: str
    name: str
    outcome: RunOutcome
    at: Time  # time of the last change
    bytes: Count  # size of all its files
    export_bytes: Count  # size of its exports and its checkpoint
    config: RunConfig | None = None  # given for a run in progress, or one to resume
    is_detached: bool = False  # the last process was one of its own


class RunsListed(msgspec.Struct, frozen=True, tag=True):
    """Response to `ListRuns`; the latest first."""

    folder: str
    runs: Annotated[tuple[RunEntry, ...], msgspec.Meta(max_length=MAX_RUNS)]
    omitted: int = 0  # runs beyond the limit


FileEvent = FilesListed | ModelsListed | RunsListed
