"""What a fetching process says to the engine that has started it: lines of JSON."""

from __future__ import annotations

import msgspec


class WantedFile(msgspec.Struct, frozen=True):
    """A file that is needed, and where its bytes gather."""

    name: str
    size: int
    blob: str  # its path once it is complete
    partial: str  # its path until then


class Planned(msgspec.Struct, frozen=True, tag=True):
    """What will be fetched, in this order."""

    files: tuple[WantedFile, ...]
    cache: str  # a folder on the disk that will hold it


class Working(msgspec.Struct, frozen=True, tag=True):
    """The process is at work on a file, also where no bytes arrive."""

    file: str


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """All is there."""

    folder: str


class DownloadFailed(msgspec.Struct, frozen=True, tag=True):
    """It could not be done."""

    message: str
    hint: str
    may_pass: bool  # whether it is worth another attempt at once


Message = Planned | Working | Fetched | DownloadFailed
