"""Pager through the decoded windows of a text."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from surgeon_engine.api.messages.sources import TextPreviewed
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers
from surgeon_gui.widgets.controls import bold, button, described, text_label

_HEIGHT = 170


class WindowPager(QWidget):
    """Shows the first calibration windows, then the first validation windows."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("window_pager")
        self._preview: TextPreviewed | None = None
        self._index = 0
        self._title = text_label()
        self._title.setFont(bold(self._title.font()))
        self._title.setObjectName("window_title")
        self._back, self._next = (
            button("window_back_button"),
            button("window_on_button"),
        )
        self._jump = button("window_jump_button")
        self._back.clicked.connect(self._on_back)
        self._next.clicked.connect(self._on_next)
        self._jump.clicked.connect(self._on_jump)
        self._text = described(QPlainTextEdit(readOnly=True), "preview_text")
        self._text.setFixedHeight(_HEIGHT)
        row = QHBoxLayout()
        row.setSpacing(GAP)
        row.addWidget(self._back)
        row.addWidget(self._next)
        row.addStretch()
        row.addWidget(self._jump)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP // 2)
        column.addWidget(self._title)
        column.addWidget(self._text)
        column.addLayout(row)
        self.hide()

    def show_preview(self, preview: TextPreviewed | None) -> None:
        """Show the first window of a text; an unchanged preview keeps its window."""
        self.setVisible(preview is not None)
        if preview is self._preview:
            return
        self._preview, self._index = preview, 0
        self._draw()

    @Slot()
    def _on_back(self) -> None:
        self._go_to(self._index - 1)

    @Slot()
    def _on_next(self) -> None:
        self._go_to(self._index + 1)

    @Slot()
    def _on_jump(self) -> None:
        if self._preview is not None:
            first = len(self._preview.calibration)
            self._go_to(0 if self._index >= first else first)

    def _go_to(self, index: int) -> None:
        self._index = index
        self._draw()

    def _draw(self) -> None:
        preview = self._preview
        if preview is None:
            self._text.clear()
            return
        windows = (*preview.calibration, *preview.validation)
        first = len(preview.calibration)
        self._text.setPlainText(windows[self._index])
        self._back.setEnabled(self._index > 0)
        self._next.setEnabled(self._index < len(windows) - 1)
        is_held_out = self._index >= first
        self._jump.setText(tr("To calibration") if is_held_out else tr("To validation"))
        title = (
            tr("Validation window {number} of {total}, {tokens} tokens")
            if is_held_out
            else tr("Calibration window {number} of {total}, {tokens} tokens")
        )
        parts = (preview.calibration, preview.validation)
        counts = (preview.calibration_windows, preview.validation_windows)
        tokens = (preview.calibration_tokens, preview.validation_tokens)
        total = counts[is_held_out] or len(parts[is_held_out])
        self._title.setText(
            title.format(
                number=self._index + 1 - (first if is_held_out else 0),
                total=numbers.whole(total),
                tokens=numbers.whole(tokens[is_held_out] // max(1, total)),
            )
        )
