"""Messages from the process that downloads a model to the engine, as JSON lines."""

from __future__ import annotations

import msgspec

from surgeon_engine.base.sentences import Text


class PlannedFile(msgspec.Struct, frozen=True):
    """A file to download, and where its bytes are on the disk."""

    name: str
    size: int  # bytes
    blob: str  # path of the complete file
    partial: str  # path of the incomplete file


class Planned(msgspec.Struct, frozen=True, tag=True):
    """The files of the model, in the order in which they are downloaded."""

    files: tuple[PlannedFile, ...]
    cache: str  # the folder that will hold them


class Working(msgspec.Struct, frozen=True, tag=True):
    """The process is working on a file, even if no bytes arrive."""

    file: str


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """The download is complete."""

    folder: str


class DownloadFailed(msgspec.Struct, frozen=True, tag=True):
    """The download failed."""

    message: Text
    hint: Text
    is_temporary: bool  # another attempt may succeed


Message = Planned | Working | Fetched | DownloadFailed
