"""The Runs dock: filter, table, details of the selected run, and buttons."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QAbstractItemView,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QTreeView,
    QWidget,
)
from typing_extensions import override

from surgeon_engine.base.process_lock import Holder
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import (
    ntr,
    tr,
)
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.parts import RunPart, part_bytes, part_question
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord, tidy_tags
from surgeon_gui.state.runs.state import RunFilter
from surgeon_gui.text import numbers
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.question import Question
from surgeon_gui.views.runs.run_filter import RunFilterBar
from surgeon_gui.views.runs.runs_table import (
    NAME,
    STARTED,
    FilteredRuns,
    RunsTable,
    TitleDelegate,
)
from surgeon_gui.widgets.controls import (
    add_action,
    button,
    described,
    give_menu,
    line_label,
    set_min_height,
    text_label,
)
from surgeon_gui.widgets.dialogs import open_folder
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.layouts import in_row, on_top, scrolling, vertical

_MIN_WIDTH = 300  # pixels
_NAME_WIDTH, _WIDTH = 214, 92  # pixels, of the columns
_LIST_HEIGHT = 124  # pixels, at least: room for four runs
_MIN_DETAILS_HEIGHT, _MAX_DETAILS_HEIGHT = 64, 250
_SELECT_ONE = tr("Select a run to see its details.")
_PARTS = {
    "discard": RunPart.SAVED_STATE,
    "checkpoint": RunPart.CHECKPOINT,
    "export": RunPart.EXPORT,
}
_SINGLE = ("open", "rename", "duplicate", "folder", "delete")  # need one selected run
_NOTES_HEIGHT = 64


class RunsPanel(QWidget):
    """Shows the list; user actions go to `RunsController`."""

    compare_clicked = Signal()

    def __init__(self, runs: RunsController) -> None:
        super().__init__()
        self._runs = runs
        self._delete = Question("delete", tr("Move run to trash"), self)
        self._discard = Question("discard", tr("Discard saved progress"), self)
        self._take_over = Question("take_over", tr("Run of another computer"), self)
        runs.held_elsewhere.connect(self._on_held_elsewhere)
        self._delete_part = Question("part", tr("Delete a part of the run"), self)
        self._filter = RunFilterBar()
        self._table = RunsTable(self)
        self._filtered = FilteredRuns(self._table, self)
        self._view = described(QTreeView(), "runs_table")
        self._note = text_label(quiet=True, name="runs_note")
        self._note.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._facts = Facts("run_facts")
        self._annotations = AnnotationForm()
        self._details_note = text_label(
            _SELECT_ONE, quiet=True, name="runs_details_note"
        )
        details = (self._details_note, self._facts, self._annotations)
        self._details = scrolling(on_top(*details, spacing=None))
        self._space = text_label(quiet=True, name="runs_space_note")
        self._open = button("runs_open_button", primary=True)
        self._compare = button("runs_compare_button")
        self._more = button("runs_more_button")
        self._actions: dict[str, QAction] = {}
        self._menu = QMenu(self)
        self._make_actions()
        self._make_view()
        self._lay_out()
        self._connect()
        self._on_changed()

    def rename_current(self) -> None:
        """Start editing the name of the selected run."""
        index = self._view.currentIndex()
        if index.isValid():
            self._view.edit(index.siblingAtColumn(NAME))

    def ask_to_delete(self, folder: str) -> None:
        """Ask whether the run in a folder may be moved to the trash."""
        if self._runs.delete_obstacle(folder):
            self._runs.delete(folder)  # shows the reason
            return
        record = self._runs.state.record(folder)
        name = Path(folder).name if record is None else self._title(record)
        details = tr(
            "This includes its charts, its report and the files exported to the run "
            "folder: {folder}"
        )
        self._delete.ask(
            tr("Move {run} to the trash?").format(run=name),
            details.format(folder=folder),
            partial(self._runs.delete, folder),
        )

    def _make_actions(self) -> None:
        slots: dict[str, tuple[Callable[[], None], str]] = {
            "open": (self._on_open, ""),  # Return, by the view itself
            "resume": (self._on_resume, ""),
            "compare": (self._on_compare, ""),
            "rename": (self.rename_current, "F2"),
            "duplicate": (self._on_duplicate, ""),
            "folder": (self._on_folder, ""),
            "discard": (self._on_discard, ""),
            "checkpoint": (partial(self._ask_about, RunPart.CHECKPOINT), ""),
            "export": (partial(self._ask_about, RunPart.EXPORT), ""),
            "delete": (self._on_delete, "Del"),
        }
        for name, (slot, keys) in slots.items():
            self._actions[name] = add_action(
                self._view, self._menu, f"runs_{name}_action", slot, keys
            )

    def _make_view(self) -> None:
        view = self._view
        view.setModel(self._filtered)
        view.setRootIsDecorated(False)
        view.setUniformRowHeights(True)
        view.setAllColumnsShowFocus(True)
        view.setSortingEnabled(True)
        view.sortByColumn(STARTED, Qt.SortOrder.DescendingOrder)
        view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setTextElideMode(Qt.TextElideMode.ElideRight)
        view.setItemDelegateForColumn(NAME, TitleDelegate(view))
        set_min_height(view, _LIST_HEIGHT)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        for column in range(self._table.columnCount()):
            view.setColumnWidth(column, _WIDTH)
        view.setColumnWidth(NAME, _NAME_WIDTH)

    def _lay_out(self) -> None:
        bottom = in_row((self._open, 1), (self._compare, 1), (self._more, 1))
        give_menu(self._more, self._menu)
        lists = ((self._view, 1), (self._note, 1), (self._details, 1))
        margin = (GAP, GAP, MARGIN, MARGIN)
        vertical(self, self._filter, *lists, self._space, bottom, margin=margin)
        set_min_height(self._details, _MIN_DETAILS_HEIGHT)
        self._details.setMaximumHeight(_MAX_DETAILS_HEIGHT)
        self.setMinimumWidth(_MIN_WIDTH)

    def _connect(self) -> None:
        self._runs.changed.connect(self._on_changed)
        self._filter.changed.connect(self._on_filter_changed)
        self._filter.refresh_clicked.connect(self._runs.refresh)
        self._annotations.tags_edited.connect(self._runs.set_tags)
        self._annotations.notes_edited.connect(self._runs.set_notes)
        self._table.renamed.connect(self._runs.rename)
        self._table.ticked.connect(self._runs.tick)
        self._view.activated.connect(self._on_activated)
        self._view.customContextMenuRequested.connect(self._on_menu_requested)
        self._view.selectionModel().selectionChanged.connect(self._on_selection_changed)
        self._open.clicked.connect(self._on_open)
        self._compare.clicked.connect(self._on_compare)

    @property
    def _selected(self) -> list[RunRecord]:
        rows = self._view.selectionModel().selectedRows()
        return [self._filtered.record_of(index) for index in rows]

    @Slot()
    def _on_changed(self) -> None:
        selected = {record.folder for record in self._selected}
        self._filter.show_runs(self._runs.state.records)
        self._table.show_runs(self._runs.state)
        if selected and not self._selected:  # the table was reset
            self._select(selected)
        self._on_selection_changed()

    def _select(self, folders: set[str]) -> None:
        for row in range(self._filtered.rowCount()):
            index = self._filtered.index(row, NAME)
            if self._filtered.record_of(index).folder in folders:
                self._view.setCurrentIndex(index)
                return

    @Slot()
    def _on_selection_changed(self) -> None:
        selected, state = self._selected, self._runs.state
        single = selected[0] if len(selected) == 1 else None
        self._facts.show_facts(run_text.facts(single) if single else ())
        if single is None:
            self._annotations.finish_typing()
        else:
            self._annotations.show_run(single)
        self._space.setText(run_text.total_disk_space(state.records))
        self._space.setVisible(bool(state.records))
        # Also without a selection: the list would move below a double click.
        self._details.setVisible(bool(self._filtered.rowCount()))
        self._details_note.setVisible(single is None)
        self._annotations.setVisible(single is not None)
        note = _note(len(state.records), self._filtered.rowCount(), state.problem)
        self._note.setText(note if state.has_been_read else tr("Reading…"))
        self._note.setVisible(not self._filtered.rowCount())
        self._view.setVisible(bool(self._filtered.rowCount()))
        for name in _SINGLE:
            self._actions[name].setEnabled(single is not None)
        is_readable = single is not None and single.config is not None
        self._actions["duplicate"].setEnabled(is_readable)
        can_resume = single is not None and single.can_resume
        for name in ("resume", "discard"):
            self._actions[name].setEnabled(can_resume)
        self._show_parts(single)
        is_openable = single is not None and single.outcome is not RunOutcome.DAMAGED
        self._actions["open"].setEnabled(is_openable)
        self._open.setEnabled(is_openable)
        self._more.setEnabled(bool(selected))
        count = len(self._compared())
        self._compare.setEnabled(count > 1)
        self._actions["compare"].setEnabled(count > 1)
        label = CAPTIONS["runs_compare_button"].label
        if count > 1:
            label = ntr("Compare {n}", "Compare {n}", count).format(n=count)
        self._compare.setText(label)

    def _compared(self) -> tuple[str, ...]:
        """Return the runs to compare: the ticked ones, else the selected ones."""
        if len(self._runs.state.ticked) > 1 or len(self._selected) < 2:
            return self._runs.state.ticked
        return tuple(
            record.folder
            for record in self._selected
            if record.outcome is not RunOutcome.DAMAGED
        )

    def _show_parts(self, single: RunRecord | None) -> None:
        """Offer to delete the large parts of a run, with their sizes."""
        for name, part in _PARTS.items():
            size = part_bytes(single, part) if single is not None else 0
            label = CAPTIONS[f"runs_{name}_action"].label
            if size:
                label = f"{label} ({numbers.size(size)})"
            self._actions[name].setText(label)
            if name != "discard":
                self._actions[name].setEnabled(size > 0)

    def _title(self, record: RunRecord) -> str:
        return self._runs.state.title(record)

    def finish_typing(self) -> None:
        """Save the notes and tags that are being typed."""
        self._annotations.finish_typing()

    @Slot(object)
    def _on_filter_changed(self, wanted: RunFilter) -> None:
        self._filtered.show_matching(wanted)
        self._on_selection_changed()

    @Slot(QModelIndex)
    def _on_activated(self, index: QModelIndex) -> None:
        self._runs.reopen(self._filtered.record_of(index).folder)

    @Slot()
    def _on_open(self) -> None:
        self._with_selected(self._runs.reopen)

    @Slot()
    def _on_resume(self) -> None:
        self._with_selected(self._runs.resume)

    @Slot()
    def _on_discard(self) -> None:
        for record in self._selected[:1]:
            question = tr("Discard the saved progress of {run}?")
            details = tr("The run can then no longer be resumed. This frees {size}.")
            self._discard.ask(
                question.format(run=self._title(record)),
                details.format(size=numbers.size(record.saved_bytes)),
                partial(self._runs.discard, record.folder),
            )

    @Slot(object, object)
    def _on_held_elsewhere(self, record: RunRecord, holder: Holder) -> None:
        question, details = run_text.elsewhere(self._title(record), holder)
        on_yes = partial(self._runs.take_over, record.folder)
        self._take_over.ask(question, details, on_yes)

    def _ask_about(self, part: RunPart) -> None:
        """Ask whether a part of the selected run may be deleted."""
        for record in self._selected[:1]:
            question, details = part_question(record, part)
            on_yes = partial(self._runs.delete_part, record.folder, part)
            question = question.format(run=self._title(record))
            self._delete_part.ask(question, details, on_yes)

    @Slot()
    def _on_duplicate(self) -> None:
        self._with_selected(self._runs.duplicate)

    @Slot()
    def _on_folder(self) -> None:
        self._with_selected(open_folder)

    @Slot()
    def _on_compare(self) -> None:
        self._runs.tick_only(self._compared())
        self.compare_clicked.emit()

    @Slot()
    def _on_delete(self) -> None:
        self._with_selected(self.ask_to_delete)

    @Slot(QPoint)
    def _on_menu_requested(self, position: QPoint) -> None:
        if self._selected:
            self._menu.popup(self._view.viewport().mapToGlobal(position))

    def _with_selected(self, action: Callable[[str], object]) -> None:
        for record in self._selected[:1]:
            action(record.folder)


def _note(all_runs: int, found: int, problem: str) -> str:
    """Return the note shown in place of an empty list."""
    if problem:
        return problem
    if not all_runs:
        return tr("There are no runs yet. Each run appears here once it has started.")
    if not found:
        return ntr(
            "The run does not match the search and the filter.",
            "None of the {n} runs matches the search and the filter.",
            all_runs,
        ).format(n=all_runs)
    return ""


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
