"""A model of the Hub, fetched with progress, cancel and resume.

    a process fetches  ->  the sizes of its files on the disk  ->  Downloading events

Progress is what is on the disk against the sizes that the Hub states: bars of the
library count otherwise in every version. Cancel ends the process; what has arrived
stays, and the next attempt goes on from there. A connection that is lost or brings
nothing for a while is tried again some times.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from surgeon_engine.api.errors import DownloadError
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.sources import Downloading, ModelDownloaded
from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_engine.hub.messages import (
    DownloadFailed,
    Fetched,
    Message,
    Planned,
    WantedFile,
    Working,
)
from surgeon_engine.runtime.run_context import RunContext

COMMAND = (sys.executable, "-m", "surgeon_engine.hub.fetch_process")
_MANNERS = {
    "HF_HUB_DISABLE_XET": "1",  # it has been seen to stall, and gathers bytes elsewhere
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
}
STALL_SECONDS = 60.0  # without a byte or another sign of life
WAITS = (2.0, 5.0, 15.0)  # seconds before the second attempt, the third, and so on
_LOOK_SECONDS = 0.25  # between two looks at the files
_SPEED_SECONDS = 6.0  # over which the speed is taken
_SPARE_BYTES = 200 * 10**6  # that stay free on the disk


def download_model(
    source: str,
    context: RunContext,
    *,
    stall_seconds: float = STALL_SECONDS,
    waits: Sequence[float] = WAITS,
) -> ModelDownloaded:
    """Fetch a model into the cache, or what is missing of it.

    Raises:
        DownloadError: it cannot be fetched, for a reason that is told.
        RunCancelled: the user has cancelled; what has arrived is kept.
    """
    name = hub_name(source)
    if name is None or name.is_dataset:
        raise DownloadError(
            f"{source} is not the name of a model on the Hugging Face Hub.",
            "Write hf://organisation/name, or hf://organisation/name@revision.",
        )
    progress = _Progress(context)
    for attempt in range(1, len(waits) + 2):
        progress.attempt = attempt
        with _Fetcher((*COMMAND, source)) as fetcher:
            end = _follow(fetcher, progress, context, stall_seconds)
        if isinstance(end, Fetched):
            progress.look()
            return ModelDownloaded(
                source, end.folder, progress.total, progress.done - progress.kept
            )
        if not end.may_pass or attempt > len(waits):
            raise DownloadError(end.message, end.hint)
        again = f"{end.message} It is tried again: {attempt + 1} of {len(waits) + 1}."
        context.emit(Logged(Level.WARNING, again))
        _wait(waits[attempt - 1], context)
    raise AssertionError("there is at least one attempt")


def _wait(seconds: float, context: RunContext) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        context.raise_if_cancelled()
        time.sleep(min(left, _LOOK_SECONDS))


def _follow(
    fetcher: _Fetcher, progress: _Progress, context: RunContext, stall_seconds: float
) -> Fetched | DownloadFailed:
    """Report on a fetching process until it has come to an end, or stands still."""
    alive = time.monotonic()
    before = progress.done
    progress.emit()
    while True:
        context.raise_if_cancelled()
        message = fetcher.next_message(_LOOK_SECONDS)
        match message:
            case Planned():
                progress.plan(message.files)
                _check_room(Path(message.cache), progress.total - progress.done)
            case Working(file=file):
                progress.file = file
            case Fetched() | DownloadFailed():
                return message
        progress.look()
        if message is not None or progress.done != before:
            alive, before = time.monotonic(), progress.done
        progress.emit()
        if time.monotonic() - alive > stall_seconds:
            return DownloadFailed(
                f"Nothing has arrived for {stall_seconds:.0f} seconds.",
                "Check the network connection. What has arrived is kept, and the "
                "download can be resumed.",
                may_pass=True,
            )


def _check_room(cache: Path, missing: int) -> None:
    """Refuse what the disk cannot hold, before a byte of it is fetched.

    Raises:
        DownloadError: there is too little room.
    """
    folder = cache
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < missing + _SPARE_BYTES:
        raise DownloadError(
            f"The download needs {missing / 1e9:,.1f} GB, and the disk with "
            f"{folder} has {free / 1e9:,.1f} GB left.",
            "Free some space, or set HF_HOME to a folder on another disk.",
        )


class _Progress:
    """Looks at the files and says how far they are."""

    def __init__(self, context: RunContext) -> None:
        self._session = context
        self._files: Sequence[WantedFile] = ()
        self._seen: deque[tuple[float, int]] = deque()  # when, and how much was there
        self._files_done = 0
        self.attempt = 1
        self.file = ""
        self.kept = -1  # not known before the first plan
        self.done = 0
        self.total = 0

    def plan(self, files: Sequence[WantedFile]) -> None:
        """Look out for these from now on."""
        self._files = files
        self.total = sum(file.size for file in files)
        self._seen.clear()  # what lies there already did not come now
        self.look()
        if self.kept < 0:
            self.kept = self.done

    def look(self) -> None:
        """See what is on the disk."""
        complete = [os.path.exists(file.blob) for file in self._files]
        self._files_done = sum(complete)
        self.done = sum(
            file.size if is_complete else min(file.size, _size(file.partial))
            for file, is_complete in zip(self._files, complete, strict=True)
        )

    def emit(self) -> None:
        """Tell how far it is."""
        now = time.monotonic()
        self._seen.append((now, self.done))
        while now - self._seen[0][0] > _SPEED_SECONDS:
            self._seen.popleft()
        (first, least), elapsed = self._seen[0], now - self._seen[0][0]
        is_known = self.total > 0 and first < now
        self._session.emit(
            Downloading(
                done=self.done,
                total=self.total,
                files_done=self._files_done,
                files=len(self._files),
                file=self.file,
                speed=max(0.0, (self.done - least) / elapsed) if is_known else 0.0,
                kept=max(0, self.kept),
                attempt=self.attempt,
            )
        )


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


class _Fetcher:
    """A fetching process; as a context, it ends with it."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # its end tells the process that we are gone
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | _MANNERS,
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> _Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            stream.close()

    def next_message(self, timeout: float) -> Message | None:
        """What it says within `timeout` seconds; None: nothing."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            return None
        if line is None:
            return DownloadFailed(
                f"The process that downloads has ended: {self._stderr_tail()}",
                "Try again; what has arrived is kept.",
                may_pass=True,
            )
        message: Message = msgspec.json.decode(line, type=Message)
        return message

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _stderr_tail(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        complaint = self._errors.read().decode(errors="replace").strip()
        return (complaint.splitlines() or [f"code {code}"])[-1]
