"""Tags and notes of the selected run."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Signal, Slot
from PySide6.QtWidgets import QLineEdit, QPlainTextEdit, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.runs.reading import RunRecord, tidy_tags
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import described, line_label
from surgeon_gui.widgets.layouts import vertical

_NOTES_HEIGHT = 64


class AnnotationForm(QWidget):
    """Edits the tags and the notes; reports them when the user leaves an input."""

    tags_edited = Signal(str, object)  # folder, tuple[str, ...]
    notes_edited = Signal(str, str)  # folder, notes

    def __init__(self) -> None:
        super().__init__()
        self._folder = ""
        self._shown_tags: tuple[str, ...] = ()
        self._shown_notes = ""
        self._tags = described(QLineEdit(), "runs_tags_edit")
        self._tags.setPlaceholderText(tr("baseline, 4 bits"))
        self._tags.editingFinished.connect(self.finish_typing)
        self._notes = described(QPlainTextEdit(), "runs_notes_edit")
        self._notes.setTabChangesFocus(True)
        self._notes.setFixedHeight(_NOTES_HEIGHT)
        self._notes.installEventFilter(self)
        column = vertical(self, spacing=GAP // 2)
        for widget in (self._tags, self._notes):
            column.addWidget(
                line_label(CAPTIONS[widget.objectName()].label, quiet=True)
            )
            column.addWidget(widget)

    def show_run(self, record: RunRecord) -> None:
        """Show the tags and notes of a run; what is being typed stays."""
        if record.folder != self._folder:
            self.finish_typing()
        elif self._is_edited:
            return
        self._folder = record.folder
        if self._typed_tags != record.tags:
            self._tags.setText(", ".join(record.tags))
        if self._typed_notes != record.notes:
            self._notes.setPlainText(record.notes)
        self._shown_tags, self._shown_notes = record.tags, record.notes

    @Slot()
    def finish_typing(self) -> None:
        """Report what has been typed."""
        tags, notes = self._typed_tags, self._typed_notes
        if tags != self._shown_tags:
            self._shown_tags = tags
            self.tags_edited.emit(self._folder, tags)
        if notes != self._shown_notes:
            self._shown_notes = notes
            self.notes_edited.emit(self._folder, notes)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() is QEvent.Type.FocusOut:
            self.finish_typing()
        return False

    @property
    def _is_edited(self) -> bool:
        return (self._typed_tags, self._typed_notes) != (
            self._shown_tags,
            self._shown_notes,
        )

    @property
    def _typed_tags(self) -> tuple[str, ...]:
        return tidy_tags(self._tags.text().split(","))

    @property
    def _typed_notes(self) -> str:
        return self._notes.toPlainText().strip()
