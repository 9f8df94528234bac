"""The panel with the facts, tags and notes of the selected run."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Slot
from PySide6.QtWidgets import QLineEdit, QPlainTextEdit, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN, ROOM
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import RunRecord, tidy_tags
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import (
    bold,
    described,
    line_label,
    show_text,
    text_label,
)
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.layouts import inside_card, on_top, scrolling, vertical

_WIDTH, _NOTES_HEIGHT = 340, 72  # pixels


class RunDetails(QWidget):
    """Shows a run; edits of its tags and notes go to `RunsController`."""

    def __init__(self, runs: RunsController) -> None:
        super().__init__()
        self.setObjectName("runs_details")
        self._note = text_label(
            tr("Select a run to see its details."),
            quiet=True,
            name="runs_details_note",
        )
        self._facts = Facts("run_facts")
        self.annotations = AnnotationForm(runs)
        self._title = text_label(name="runs_details_title")
        self._title.setFont(bold(self._title.font()))
        parts = (self._title, self._note, self._facts, self.annotations)
        content = on_top(*parts, spacing=2 * GAP)
        content.setContentsMargins(0, 0, GAP, 0)  # beside the scroll bar
        area = scrolling(content)
        for part in (area.viewport(), content):
            part.setAutoFillBackground(False)  # the card has another color
        inside_card(self, area, margin=(ROOM, MARGIN, MARGIN, MARGIN))
        self.setFixedWidth(_WIDTH)
        self.show_run(None)

    def show_run(self, record: RunRecord | None) -> None:
        """Show a run, or how to choose one."""
        show_text(self._title, run_text.title(record) if record is not None else "")
        self._note.setVisible(record is None)
        self.annotations.setVisible(record is not None)
        self._facts.show_facts(run_text.facts(record) if record is not None else ())
        if record is None:
            self.annotations.finish_typing()
        else:
            self.annotations.show_run(record)


class AnnotationForm(QWidget):
    """Edits the tags and the notes, which are kept when the user leaves an input."""

    def __init__(self, runs: RunsController) -> None:
        super().__init__()
        self._runs = runs
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
        column.addStretch()

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
        """Keep what has been typed."""
        tags, notes = self._typed_tags, self._typed_notes
        if tags != self._shown_tags:
            self._shown_tags = tags
            self._runs.set_tags(self._folder, tags)
        if notes != self._shown_notes:
            self._shown_notes = notes
            self._runs.set_notes(self._folder, notes)

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
