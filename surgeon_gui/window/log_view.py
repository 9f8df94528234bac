"""The log in a window: lines with time and level to be filtered, copied and saved.

It has the log records of both the window and the engine. Records may come from any
thread; a signal delivers them in the thread of the window.
"""

from __future__ import annotations

import functools
import logging
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtGui import QGuiApplication, QShowEvent
from PySide6.QtWidgets import QDialog, QLineEdit, QPlainTextEdit, QWidget
from typing_extensions import override

from surgeon_engine.api.messages.events import Level
from surgeon_engine.base.files import write_atomically
from surgeon_gui.base.paths import with_tilde
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.state.log_lines import LogLine
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import FROM_LEVEL, LEVELS
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import button, described, fixed_font, line_label
from surgeon_gui.widgets.dialogs import ask_new_file
from surgeon_gui.widgets.layouts import add_parts, in_row, vertical

MAX_LINES = 5_000
_TYPING_MS = 150
_SIZE = (760, 420)
_LEVELS = list(Level)  # by severity


class LogView(QDialog):
    """Keep the last `MAX_LINES` lines and show those that match the filter.

    The main window beside it stays usable.
    """

    save_failed = Signal(str)
    saved = Signal(str, str)  # a sentence, the path of the file

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("log_window")
        self.setWindowTitle(CAPTIONS["log_text"].label)
        self.resize(*_SIZE)
        self._lines: deque[LogLine] = deque(maxlen=MAX_LINES)
        self._level = ChoiceBox("log_level_combo")
        self._level.offer(FROM_LEVEL)
        self._filter = described(QLineEdit(clearButtonEnabled=True), "log_filter_edit")
        self._filter.setPlaceholderText(CAPTIONS["log_filter_edit"].tip)
        self._text = described(QPlainTextEdit(readOnly=True), "log_text")
        self._text.setMaximumBlockCount(MAX_LINES)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setFont(fixed_font())
        copy_button, save_button = (
            button("log_copy_button", self._on_copy_clicked),
            button("log_save_button", self._on_save_clicked),
        )
        self._level.currentIndexChanged.connect(self._apply_filter)
        # Filtering takes as long as some keys, so it waits until they have been typed.
        self._waiting = QTimer(self, singleShot=True, interval=_TYPING_MS)
        self._waiting.timeout.connect(self._apply_filter)
        self._filter.textChanged.connect(self._waiting.start)

        top = in_row()
        level_label = line_label(CAPTIONS["log_level_combo"].label)
        level_label.setBuddy(self._level)
        add_parts(
            top, level_label, self._level, (self._filter, 1), copy_button, save_button
        )
        vertical(self, top, self._text, margin=MARGIN + GAP, spacing=None)

    @Slot()
    def show_on_top(self) -> None:
        """Show the window in front of others."""
        self.show()
        self.raise_()
        self.activateWindow()

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        # Qt would scroll to the end of the last line.
        self._text.horizontalScrollBar().setValue(0)

    @Slot(object)
    def append(self, lines: Iterable[LogLine]) -> None:
        """Add several lines at once."""
        lines = tuple(lines)
        self._lines.extend(lines)
        matching = [_format(line) for line in lines if self._matches(line)]
        if matching:
            self._text.appendPlainText("\n".join(matching))

    @Slot(str)
    def note(self, message: str) -> None:
        """Add an info line with the current time."""
        self.append((LogLine(time.time(), Level.INFO, message),))

    def all_text(self) -> str:
        """Return all lines, regardless of the filter."""
        return "\n".join(_format(line) for line in self._lines)

    def shown_text(self) -> str:
        """Return the lines that match the filter."""
        if self._waiting.isActive():
            self._apply_filter()
        return self._text.toPlainText()

    def save(self, path: Path) -> None:
        """Write the lines that match the filter to `path`.

        Raises:
            OSError: The file cannot be written.
        """
        write_atomically(path, f"{self.shown_text()}\n".encode())

    def _matches(self, line: LogLine) -> bool:
        if _LEVELS.index(line.level) < self._level.currentIndex():
            return False
        return self._filter.text().casefold() in line.message.casefold()

    @Slot()
    def _apply_filter(self) -> None:
        self._waiting.stop()
        matching = [_format(line) for line in self._lines if self._matches(line)]
        self._text.setPlainText("\n".join(matching))

    @Slot()
    def _on_copy_clicked(self) -> None:
        QGuiApplication.clipboard().setText(self.shown_text())

    @Slot()
    def _on_save_clicked(self) -> None:
        ask_new_file(self, tr("Save the log"), "surgeon.log", self._on_file_selected)

    @Slot(str)
    def _on_file_selected(self, path: str) -> None:
        try:
            self.save(Path(path))
        except OSError as error:
            self.save_failed.emit(
                tr("The log cannot be written: {error}.").format(error=error)
            )
            return
        text = tr("The log was saved to {path}.").format(path=with_tilde(path))
        self.saved.emit(text, path)


def _format(line: LogLine) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(line.at))
    return f"{clock}  {LEVELS[line.level]:<7}  {line.message}"


class WindowLog(QObject):
    """Emit each log record of this process as a line of the log."""

    arrived = Signal(object)  # tuple[LogLine]

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
            self._owner.arrived.emit((line,))
        except RuntimeError:
            return  # the window has been closed


def _level(level_number: int) -> Level:
    if level_number >= logging.ERROR:
        return Level.ERROR
    return Level.WARNING if level_number >= logging.WARNING else Level.INFO
