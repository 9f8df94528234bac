"""Forward the window's log records to the log view, next to those of the engine.

Records may come from any thread; the signal delivers them in the thread of the window.
"""

from __future__ import annotations

import functools
import logging

from PySide6.QtCore import QObject, Signal
from typing_extensions import override

from surgeon_engine.api.messages.events import Level
from surgeon_gui.state.log_lines import LogLine


class WindowLog(QObject):
    """Emit each log record of this process as a line of the log."""

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

    @override
    def emit(self, record: logging.LogRecord) -> None:
        line = LogLine(record.created, _level(record.levelno), record.getMessage())
        try:
            self._owner.arrived.emit(line)
        except RuntimeError:
            return  # the window has been closed


def _level(level_number: int) -> Level:
    if level_number >= logging.ERROR:
        return Level.ERROR
    return Level.WARNING if level_number >= logging.WARNING else Level.INFO
