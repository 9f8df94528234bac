"""The window's own messages as lines of the log, beside those of the engine.

Messages may come from any thread; the signal carries them over to the window's.
"""

from __future__ import annotations

import functools
import logging

from PySide6.QtCore import QObject, Signal

from surgeon_engine.api.messages.events import Level
from surgeon_gui.state.log_lines import LogLine


class WindowLog(QObject):
    """Passes on what is logged anywhere in this process, as long as it lives."""

    arrived = Signal(object)  # LogLine

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        handler = _Handler(self)
        root = logging.getLogger()
        root.addHandler(handler)
        self.destroyed.connect(functools.partial(root.removeHandler, handler))


class _Handler(logging.Handler):
    def __init__(self, owner: WindowLog) -> None:
        super().__init__()
        self._owner = owner

    def emit(self, record: logging.LogRecord) -> None:
        """Called by whoever logs."""
        line = LogLine(record.created, _level(record.levelno), record.getMessage())
        try:
            self._owner.arrived.emit(line)
        except RuntimeError:
            return  # the window was closed in the meantime


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return Level.ERROR
    return Level.WARNING if number >= logging.WARNING else Level.INFO
