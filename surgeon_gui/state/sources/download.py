"""How a download from the Hub stands, as pure functions of events. Knows nothing of Qt.

A download that was cancelled or has failed can be resumed: what has arrived is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from surgeon_engine.api.messages.events import Cancelled, Event, Failed
from surgeon_engine.api.messages.sources import Downloading, ModelDownloaded


@dataclass(frozen=True, slots=True)
class Download:
    """One download; by default none has been asked for."""

    source: str = ""
    request: str = ""  # the name under which the engine tells of it
    progress: Downloading | None = None
    problem: Failed | None = None
    is_cancelling: bool = False
    is_cancelled: bool = False
    downloaded: ModelDownloaded | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is under way."""
        has_ended = self.is_cancelled or self.problem or self.downloaded
        return bool(self.request) and not has_ended

    @property
    def is_planned(self) -> bool:
        """Whether it is known what there is to download."""
        return self.progress is not None and self.progress.total > 0

    @property
    def can_resume(self) -> bool:
        """Whether a part of it has arrived and the rest can follow."""
        has_begun = self.progress is not None and self.progress.done > 0
        return has_begun and not self.is_open and self.downloaded is None

    @property
    def share(self) -> float:
        """How much of it has arrived, from 0 to 1."""
        if self.progress is None or self.progress.total == 0:
            return 0.0
        return self.progress.done / self.progress.total

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the speed of the last seconds; None: unknown."""
        if self.progress is None or self.progress.speed <= 0:
            return None
        return (self.progress.total - self.progress.done) / self.progress.speed


def requested(download: Download, source: str, request: str) -> Download:
    """A download that has just been asked for; what had arrived is shown until then."""
    progress = download.progress if download.source == source else None
    if progress is not None:
        progress = _at_rest(progress)
    return Download(source=source, request=request, progress=progress)


def _at_rest(progress: Downloading) -> Downloading:
    """The progress with nothing arriving."""
    return Downloading(
        done=progress.done,
        total=progress.total,
        files_done=progress.files_done,
        files=progress.files,
        file=progress.file,
    )


def followed(download: Download, event: Event) -> Download:
    """The download after an event that came under its name."""
    if not download.is_open:
        return download
    match event:
        case Downloading() if event.total or download.progress is None:
            return replace(download, progress=event)
        case ModelDownloaded():
            return replace(download, downloaded=event)
        case Failed():
            return replace(download, problem=event)
        case Cancelled():
            return replace(download, is_cancelled=True)
    return download


def cancelling(download: Download) -> Download:
    """The download after its end was asked for."""
    return replace(download, is_cancelling=True) if download.is_open else download
