"""The page Runs: the queue, and a card for each run.

Runs  12 runs, 3.2 GB      Compare 2  Filter  Details
[ search, outcome, tag, model ]       while Filter is on
[ queue                       ]
[ card ] [ card ] [ card ]   [ details ]
"""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QAction, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QWidget
from typing_extensions import override

from surgeon_gui.base.theme import GAP, MARGIN, PAGE, ROOM, TITLE
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import RunRecord
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.runs.card_grid import CardGrid
from surgeon_gui.views.runs.card_painter import menu_rect
from surgeon_gui.views.runs.details import RunDetails
from surgeon_gui.views.runs.run_cards import RunCards
from surgeon_gui.views.runs.run_filter import RunFilterBar
from surgeon_gui.views.runs.run_menu import RunMenu
from surgeon_gui.widgets.controls import (
    action,
    button,
    eliding_label,
    heading,
    show_button,
    show_elided,
    text_label,
)
from surgeon_gui.widgets.layouts import (
    STRETCH,
    card,
    in_column,
    in_row,
    stack,
    vertical,
)

_NARROW = 560  # pixels; below, the buttons are under the title


class RunsHome(QWidget):
    """Shows the runs; user actions go to `RunsController`."""

    compare_clicked = Signal()
    new_clicked = Signal()

    def __init__(self, runs: RunsController, queue_panel: QWidget) -> None:
        super().__init__()
        self.setObjectName("runs_home")
        self._runs = runs
        self._title = heading(tr("Runs"), TITLE)
        self._space = eliding_label("runs_space_note", quiet=True)
        self._compare = button("runs_compare_button", self.compare_clicked)
        self._filter_button = button("runs_filter_button")
        self._details_button = button("runs_details_button")
        self._filter = RunFilterBar()
        self._queue = card(queue_panel, margin=0)
        self._cards = RunCards(runs, self)
        self._grid = CardGrid("runs_grid")
        self._grid.setModel(self._cards)
        self._details = RunDetails(runs)
        self._note = text_label(quiet=True, name="runs_note")
        self._note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._new = button("runs_new_button", self.new_clicked, primary=True)
        own = {
            "rename": (self.rename_current, "F2"),
            "details": (self._details_button.toggle, ""),
        }
        self._menu = RunMenu(runs, self._grid, own)
        self._lay_out()
        self._connect()
        self._on_changed()

    def rename_current(self) -> None:
        """Start editing the name of the selected run."""
        index = self._grid.currentIndex()
        if index.isValid():
            self._grid.edit(index)

    def ask_to_delete(self, folder: str) -> None:
        """Ask whether the run in a folder may be moved to the trash."""
        self._menu.questions.delete(folder)

    def finish_typing(self) -> None:
        """Save the notes and tags that are being typed."""
        self._details.annotations.finish_typing()

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._selected is None:  # else the grid would select the first run
            self._grid.setCurrentIndex(self._cards.index_of(self._runs.in_view))
        self._grid.setFocus()
        self._runs.refresh()

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        stack(self._head, is_stacked=self.width() < _NARROW)
        self._set_margins()
        super().resizeEvent(event)

    def _set_margins(self) -> None:
        """Let the gap beside the last card and the scroll bar lie in the margin."""
        edge = MARGIN if self.width() < _NARROW else PAGE
        is_last = self._details.isHidden()
        right = max(0, edge - self._grid.edge) if is_last else edge
        self._top.setContentsMargins(edge, edge, edge, 0)
        self._content.setContentsMargins(edge, 0, right, 0 if is_last else edge)

    def _lay_out(self) -> None:
        for made in (self._filter_button, self._details_button):
            made.setCheckable(True)
        buttons = (self._compare, self._filter_button, self._details_button)
        self._head = in_row(
            (in_row(self._title, (self._space, 1)), 1), in_row(*buttons)
        )
        parts = (self._head, self._filter, self._queue)
        self._top = in_column(*parts, spacing=ROOM - GAP // 2)
        empty = in_row(STRETCH, self._new, STRETCH)
        self._empty = QWidget()
        vertical(self._empty, STRETCH, self._note, empty, STRETCH, spacing=ROOM)
        self._content = in_row((self._grid, 1), (self._empty, 1), self._details)
        vertical(self, self._top, (self._content, 1), spacing=ROOM)
        self._filter.hide()
        self._details.hide()

    def _connect(self) -> None:
        self._runs.changed.connect(self._on_changed)
        self._filter.changed.connect(self._on_changed)
        self._grid.activated.connect(self._on_activated)
        self._grid.menu_clicked.connect(self._on_menu_clicked)
        self._grid.customContextMenuRequested.connect(self._on_menu_requested)
        self._grid.selectionModel().currentChanged.connect(self._on_current_changed)
        self._filter_button.toggled.connect(self._on_filter_toggled)
        self._details_button.toggled.connect(self._on_details_toggled)
        self.addAction(action(self, "runs_refresh_action", self._runs.refresh, "F5"))
        self._find = QAction(self)
        self._find.setShortcut("Ctrl+F")
        self._find.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        self._find.triggered.connect(self._on_find)
        self.addAction(self._find)

    @property
    def _selected(self) -> RunRecord | None:
        index = self._grid.currentIndex()
        return self._cards.record_at(index.row()) if index.isValid() else None

    @Slot()
    def _on_changed(self) -> None:
        state = self._runs.state
        selected = self._selected
        self._filter.show_runs(state.records)
        self._cards.show_runs(state, self._filter.filter)
        if selected is not None and self._selected is None:  # another order
            self._grid.setCurrentIndex(self._cards.index_of(selected.folder))
        space = run_text.total_disk_space(state.records) if state.records else ""
        show_elided(self._space, space)
        self._show_note()
        count = len(state.ticked)
        label = ntr("Compare {n}", "Compare {n}", count).format(n=count)
        tip = CAPTIONS["runs_compare_button"].tip
        show_button(self._compare, label, tip, is_enabled=count > 1)
        self._compare.setVisible(count > 1)
        self._on_current_changed()

    def _show_note(self) -> None:
        """Show in place of the cards why there are none."""
        state, found = self._runs.state, self._cards.rowCount()
        note = _note(len(state.records), state.problem)
        self._note.setText(note if state.has_been_read else tr("Reading…"))
        is_first = state.has_been_read and not state.records and not state.problem
        self._new.setVisible(is_first)
        self._empty.setVisible(not found)
        self._grid.setVisible(bool(found))

    @Slot()
    def _on_current_changed(self) -> None:
        record = self._selected
        self._details.show_run(record)
        self._menu.show_run(record)

    @Slot(bool)
    def _on_filter_toggled(self, is_on: bool) -> None:
        self._filter.setVisible(is_on)
        if is_on:
            self._filter.start()
        else:
            self._filter.clear()

    @Slot(bool)
    def _on_details_toggled(self, is_on: bool) -> None:
        self._details.setVisible(is_on)
        self._set_margins()

    @Slot()
    def _on_find(self) -> None:
        if self._filter_button.isChecked():
            self._filter.start()
        self._filter_button.setChecked(True)

    @Slot(QModelIndex)
    def _on_activated(self, index: QModelIndex) -> None:
        self._runs.reopen(self._cards.record_at(index.row()).folder)

    @Slot(QModelIndex)
    def _on_menu_clicked(self, index: QModelIndex) -> None:
        self._grid.setCurrentIndex(index)
        place = menu_rect(self._grid.visualRect(index)).bottomLeft()
        self._menu.menu.popup(self._grid.viewport().mapToGlobal(place))

    @Slot(QPoint)
    def _on_menu_requested(self, position: QPoint) -> None:
        if self._grid.indexAt(position).isValid():
            self._menu.menu.popup(self._grid.viewport().mapToGlobal(position))


def _note(runs: int, problem: str) -> str:
    if problem:
        return problem
    if not runs:
        return tr("Each run becomes a card here.")
    return ntr(
        "The run does not match the filter.",
        "None of the {n} runs matches the filter.",
        runs,
    ).format(n=runs)
