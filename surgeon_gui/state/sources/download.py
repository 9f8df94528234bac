"""A download from the Hub, as pure functions of its events. No Qt.

A download that was cancelled or has failed can be resumed: complete and partial files
are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from surgeon_engine.api.messages.events import Event
from surgeon_engine.api.messages.sources import Downloading, ModelDownloaded
from surgeon_gui.state.request import Request


@dataclass(frozen=True, slots=True)
class Download(Request[ModelDownloaded]):
    """The request for a download, with its source and its progress in bytes."""

    source: str = ""
    progress: Downloading | None = None

    @property
    def is_planned(self) -> bool:
        """True if the size of the download is known."""
        return self.progress is not None and self.progress.total > 0

    @property
    def can_resume(self) -> bool:
        """True if a part has arrived and the rest can be requested."""
        has_begun = self.progress is not None and self.progress.done > 0
        return has_begun and not self.is_open and self.response is None

    @property
    def share(self) -> float:
        """Return the downloaded share, from 0 to 1."""
        if self.progress is None or self.progress.total == 0:
            return 0.0
        return self.progress.done / self.progress.total

    @property
    def seconds_left(self) -> float | None:
        """Return the remaining seconds at the current speed; None: unknown."""
        if self.progress is None or self.progress.speed <= 0:
            return None
        return (self.progress.total - self.progress.done) / self.progress.speed

    def with_event(self, event: Event) -> Self:
        """Return the download after an event; an empty report hides no progress."""
        if not isinstance(event, Downloading):
            return Request.with_event(self, event)
        if self.is_open and (event.total or self.progress is None):
            return replace(self, progress=event)
        return self


def next_download(last: Download, source: str) -> Download:
    """Return a new download; of the same source, it shows the progress of the last."""
    progress = last.progress if last.source == source else None
    if progress is not None:
        progress = Downloading(
            done=progress.done,
            total=progress.total,
            files_done=progress.files_done,
            files=progress.files,
            file=progress.file,
        )
    return Download(source=source, progress=progress)
