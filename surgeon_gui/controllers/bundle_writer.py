"""Writes a debug bundle in its own thread: the events of a run may be many."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QThread, Signal

from surgeon_gui.state.debug_bundle import Bundle, write_bundle


class BundleWriter(QThread):
    """Write a bundle once and report the path or the error."""

    written = Signal(str)  # path
    failed = Signal(str)  # the error of the system

    def __init__(self, bundle: Bundle, path: Path, parent: QObject) -> None:
        super().__init__(parent)
        self.setObjectName("bundle_writer")
        self._bundle = bundle
        self._path = path

    def run(self) -> None:
        """Write the bundle; called by Qt."""
        try:
            write_bundle(self._bundle, self._path)
        except OSError as error:
            self.failed.emit(str(error))
        else:
            self.written.emit(str(self._path))
