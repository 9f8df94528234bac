"""Download a model of the Hub, with progress, cancellation and resumption.

    download process  ->  sizes of its files on the disk  ->  Downloading events

Progress compares the bytes on the disk with the sizes that the Hub states, because the
progress bars of the library count differently in each version. Cancelling kills the
process; the data received so far is kept, and the next attempt resumes from there. If
the connection is lost or stalls, the download is retried a few times.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from surgeon_engine.api.messages.sources import Downloading, ModelDownloaded
from surgeon_engine.base.calls import Refused
from surgeon_engine.base.decoding import json_decoder
from surgeon_engine.base.errors import DownloadError, TemporaryDownloadError
from surgeon_engine.base.files import nearest_existing
from surgeon_engine.base.json_process import JsonProcess, module_command
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.hub.messages import (
    DownloadMessage,
    Fetched,
    HubFile,
    Planned,
    Working,
)
from surgeon_engine.model.source import hub_model
from surgeon_engine.runtime.run_context import RunContext

COMMAND = module_command("surgeon_engine.hub.fetch_process")
ENVIRONMENT = {
    "HF_HUB_DISABLE_XET": "1",  # it may stall, and stores partial files elsewhere
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
}
STALL_TIMEOUT_S = 60.0  # without a byte or a message
RETRY_DELAYS_S = (2.0, 5.0, 15.0)  # before the second attempt, the third, and so on
_KEPT = say("The data received so far is kept, and the download can be resumed.")
_POLL_INTERVAL_S = 0.25
_SPEED_INTERVAL_S = 6.0  # over which the speed is averaged
_FREE_BYTES = 200 * 10**6  # to leave free on the disk


def download_model(
    source: str,
    context: RunContext,
    *,
    stall_timeout_s: float = STALL_TIMEOUT_S,
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
) -> ModelDownloaded:
    """Download the missing files of a model into the cache of the Hub.

    Raises:
        ModelError: It is no model of the Hub.
        DownloadError: The model cannot be downloaded.
        RunCancelled: The user has cancelled; the data received so far is kept.
    """
    hub_model(source)
    decode = json_decoder(DownloadMessage)
    progress = _Progress(context)
    attempts = len(retry_delays_s) + 1
    for attempt in range(1, attempts + 1):
        progress.attempt = attempt
        with JsonProcess(
            (*COMMAND, source), decode, os.environ | ENVIRONMENT
        ) as process:
            result = _follow(process, progress, context, stall_timeout_s)
        progress.update()
        if isinstance(result, Fetched):
            return ModelDownloaded(
                source, result.folder, progress.total, progress.done - progress.kept
            )
        may_succeed = isinstance(result.error, TemporaryDownloadError)
        if not may_succeed or attempt == attempts:
            kept = _KEPT if progress.done else ""
            raise DownloadError(result.message, say_all(result.hint, kept))
        context.warn(
            "{reason} Retrying: attempt {attempt} of {attempts}.",
            reason=result.message,
            attempt=attempt + 1,
            attempts=attempts,
        )
        _wait(retry_delays_s[attempt - 1], context)
    raise AssertionError("there is at least one attempt")


def _wait(seconds: float, context: RunContext) -> None:
    end = time.monotonic() + seconds
    while (remaining := end - time.monotonic()) > 0:
        context.raise_if_cancelled()
        time.sleep(min(remaining, _POLL_INTERVAL_S))


def _follow(
    process: JsonProcess[DownloadMessage],
    progress: _Progress,
    context: RunContext,
    stall_timeout_s: float,
) -> Fetched | Refused:
    """Report the progress of a download process until it ends or stalls."""
    last_activity, last_done = time.monotonic(), progress.done
    progress.emit()
    while True:
        context.raise_if_cancelled()
        message = process.receive(_POLL_INTERVAL_S)
        match message:
            case Planned():
                progress.plan(message.files)
                _check_disk_space(Path(message.cache), progress.total - progress.done)
            case Working(file=file):
                progress.file = file
            case Fetched() | Refused():
                return message
        if process.ended:
            why = process.wait_for_exit().summary
            failed = TemporaryDownloadError(
                "The download failed: {reason:clause}.", "Try again.", reason=why
            )
            return Refused.by(failed)
        progress.update()
        if message is not None or progress.done != last_done:
            last_activity, last_done = time.monotonic(), progress.done
        progress.emit()
        if time.monotonic() - last_activity > stall_timeout_s:
            failed = TemporaryDownloadError(
                "No data has arrived for {seconds:.0f} seconds.",
                "Check the network connection.",
                seconds=stall_timeout_s,
            )
            return Refused.by(failed)


def _check_disk_space(cache: Path, missing: int) -> None:
    """Check that the disk has room for `missing` bytes."""
    folder = nearest_existing(cache)
    free = shutil.disk_usage(folder).free
    if free < missing + _FREE_BYTES:
        raise DownloadError(
            "The download needs {missing:size}, and the disk with {folder} has "
            "{free:room} left.",
            "Free some space, or set HF_HOME to a folder on another disk.",
            missing=missing,
            folder=folder,
            free=free,
        )


class _Progress:
    """Measures the files on the disk and emits `Downloading` events."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._files: Sequence[HubFile] = ()
        self._samples: deque[tuple[float, int]] = deque()  # times and bytes on the disk
        self._files_done = 0
        self.attempt = 1
        self.file = ""
        self.kept = -1  # bytes of earlier downloads; unknown before the first plan
        self.done = 0
        self.total = 0

    def plan(self, files: Sequence[HubFile]) -> None:
        """Measure these files from now on."""
        self._files = files
        self.total = sum(file.size for file in files)
        self._samples.clear()  # bytes of earlier downloads do not count for the speed
        self.update()
        if self.kept < 0:
            self.kept = self.done

    def update(self) -> None:
        """Measure the files on the disk."""
        complete = [os.path.exists(file.blob) for file in self._files]
        self._files_done = sum(complete)
        self.done = sum(
            file.size if is_complete else min(file.size, _size(file.partial))
            for file, is_complete in zip(self._files, complete, strict=True)
        )

    def emit(self) -> None:
        """Emit an event with the current progress and speed."""
        now = time.monotonic()
        self._samples.append((now, self.done))
        while now - self._samples[0][0] > _SPEED_INTERVAL_S:
            self._samples.popleft()
        first_time, first_done = self._samples[0]
        speed = 0.0
        if self.total > 0 and first_time < now:
            speed = max(0.0, (self.done - first_done) / (now - first_time))
        self._context.emit(
            Downloading(
                done=self.done,
                total=self.total,
                files_done=self._files_done,
                files=len(self._files),
                file=self.file,
                speed=speed,
                kept=max(0, self.kept),
                attempt=self.attempt,
            )
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
