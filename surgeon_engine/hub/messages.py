"""Messages from the processes that ask the Hub to the engine, as JSON lines."""

from __future__ import annotations

from pathlib import Path

import msgspec

from surgeon_engine.api.messages.sources import HubModel
from surgeon_engine.base.calls import Refused


class HubFile(msgspec.Struct, frozen=True):
    """A file on the Hub, and where its bytes are on the disk."""

    name: str
    size: int  # bytes
    digest: str  # SHA-256 of the bytes of a large file; else git's SHA-1
    folder: str

    @property
    def blob(self) -> Path:
        """The path of the complete file."""
        return Path(self.folder, self.digest)

    @property
    def partial(self) -> Path:
        """The path of the incomplete file."""
        return Path(self.folder, f"{self.digest}.incomplete")

    @property
    def lock(self) -> Path:
        """The path of the file that the process holds that downloads this one.

        The Hub's own programs use the same.
        """
        model = Path(self.folder).parent
        return model.parent / ".locks" / model.name / f"{self.digest}.lock"


class Planned(msgspec.Struct, frozen=True, tag=True):
    """The files of the model, in the order in which they are downloaded."""

    files: tuple[HubFile, ...]
    cache: str  # the folder that will hold them


class Working(msgspec.Struct, frozen=True, tag=True):
    """The process is working on a file, even if no bytes arrive."""

    file: str


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """The download is complete."""

    folder: str


class ModelsFound(msgspec.Struct, frozen=True, tag=True):
    """The search is complete."""

    models: tuple[HubModel, ...]


DownloadMessage = Planned | Working | Fetched | Refused
SearchMessage = ModelsFound | Refused
