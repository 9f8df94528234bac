"""The log: lines with time and level, filtered, copied and saved."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QFontDatabase, QGuiApplication, QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from surgeon_engine.api.files import write_atomically
from surgeon_engine.api.messages.events import Level
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.log_lines import LogLine
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.labels import FROM_LEVEL, LEVELS
from surgeon_gui.widgets.controls import button, choice_box, described
from surgeon_gui.widgets.dialogs import ask_new_file

MAX_LINES = 5_000
_ORDER = list(Level)


class LogView(QWidget):
    """Keeps the last `MAX_LINES` lines and shows those that pass the filter."""

    save_failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[LogLine] = deque(maxlen=MAX_LINES)
        self._level = described(choice_box(), "log_level_combo")
        for level in Level:
            self._level.addItem(FROM_LEVEL[level], level)
        self._filter = described(QLineEdit(clearButtonEnabled=True), "log_filter_edit")
        self._filter.setPlaceholderText(CAPTIONS["log_filter_edit"].tip)
        self._text = described(QPlainTextEdit(readOnly=True), "log_text")
        self._text.setMaximumBlockCount(MAX_LINES)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        self._text.setFont(fixed)
        copy_button, save_button = button("log_copy_button"), button("log_save_button")
        self._level.currentIndexChanged.connect(self._refilter)
        self._filter.textChanged.connect(self._refilter)
        copy_button.clicked.connect(self._on_copy_clicked)
        save_button.clicked.connect(self._on_save_clicked)

        top = QHBoxLayout()
        top.setSpacing(GAP)
        level_label = QLabel(CAPTIONS["log_level_combo"].label)
        level_label.setBuddy(self._level)
        top.addWidget(level_label)
        top.addWidget(self._level)
        top.addWidget(self._filter, 1)
        top.addWidget(copy_button)
        top.addWidget(save_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(GAP, GAP, GAP, GAP)
        layout.addLayout(top)
        layout.addWidget(self._text)
        self.setMinimumHeight(110)

    def showEvent(self, event: QShowEvent) -> None:
        """Show the beginning of lines; Qt would show the end of the last one."""
        super().showEvent(event)
        self._text.horizontalScrollBar().setValue(0)

    def append(self, lines: Iterable[LogLine]) -> None:
        """Add lines, all in one go."""
        lines = tuple(lines)
        self._lines.extend(lines)
        shown = [_as_text(line) for line in lines if self._passes(line)]
        if shown:
            self._text.appendPlainText("\n".join(shown))

    @Slot(object)
    def append_line(self, line: LogLine) -> None:
        """Add one line."""
        self.append((line,))

    def note(self, message: str) -> None:
        """Add a line of the window's own, as of now."""
        self.append((LogLine(time.time(), Level.INFO, message),))

    def all_text(self) -> str:
        """All lines that are kept, whatever the filter says."""
        return "\n".join(_as_text(line) for line in self._lines)

    def shown_text(self) -> str:
        """The lines that pass the filter."""
        return self._text.toPlainText()

    def save(self, path: Path) -> None:
        """Write the lines that pass the filter.

        Raises:
            OSError: that is not possible.
        """
        write_atomically(path, f"{self.shown_text()}\n".encode())

    def _passes(self, line: LogLine) -> bool:
        if _ORDER.index(line.level) < self._level.currentIndex():
            return False
        return self._filter.text().casefold() in line.message.casefold()

    @Slot()
    def _refilter(self) -> None:
        passing = [_as_text(line) for line in self._lines if self._passes(line)]
        self._text.setPlainText("\n".join(passing))

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


def _as_text(line: LogLine) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(line.at))
    return f"{clock}  {LEVELS[line.level]:<7}  {line.message}"
