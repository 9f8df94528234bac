"""The dialog that finds a model: on the engine's computer, or on the Hub."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from PySide6.QtCore import QModelIndex, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QLineEdit, QWidget
from typing_extensions import override

from surgeon_engine.api.messages.commands import ListModels
from surgeon_engine.api.messages.sources import HubModel
from surgeon_engine.api.model_info.source_names import SCHEME, cached_models
from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.controllers.sources import HubSearchController
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.search import (
    COLUMNS,
    NUMBERS,
    SearchRow,
    estimated_row,
    found_models,
    found_row,
    local_rows,
    local_title,
    models_there,
    search_line,
)
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import button, described, enable_unless, text_label
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import answer_row, vertical
from surgeon_gui.widgets.object_list import ObjectList

_SIZE = (880, 480)
_NOTE_LINES = 4  # for which there is room


class HubSearchDialog(Dialog):
    """Lists the models of the engine's computer and those that a search has found."""

    chosen = Signal(str)  # the source of a model

    def __init__(
        self, session: Session, recent: Iterable[str], parent: QWidget
    ) -> None:
        super().__init__("search_dialog", tr("Find a model"), parent, _SIZE)
        self._session = session
        self._search = HubSearchController(session, self)
        self._recent: tuple[str, ...] = ()
        self._cached: tuple[str, ...] = ()
        if session.state.computer:  # which has neither the files nor the cache of here
            session.store.start_request(RequestKind.MODELS, ListModels)
        else:
            self._recent, self._cached = tuple(recent), cached_models()
        self._basis: tuple[object, ...] = ()  # inputs of the rows of found models
        self._found: dict[str, SearchRow] = {}  # by source
        self._shown: tuple[SearchRow, ...] | None = None
        self._to_estimate: list[HubModel] = []
        self._estimates = QTimer(self)  # one model after the other: the window responds
        self._estimates.timeout.connect(self._estimate_next)
        self._words = described(QLineEdit(clearButtonEnabled=True), "search_edit")
        self._words.setPlaceholderText(CAPTIONS["search_edit"].tip)
        self._words.textChanged.connect(self._on_typed)
        by_source = attrgetter("source")
        self._list = ObjectList("search_list", *COLUMNS, numbers=NUMBERS, key=by_source)
        self._list.opened.connect(self._on_opened)
        self._list.itemSelectionChanged.connect(self._on_selected)
        self._status = text_label(quiet=True, name="search_status")
        self._note = text_label(name="search_note")
        self._note.setMinimumHeight(_NOTE_LINES * self.fontMetrics().lineSpacing())
        self._note.setAlignment(Qt.AlignmentFlag.AlignTop)
        name = "search_choose_button"
        self._choose = button(name, self._on_choose_clicked, primary=True)
        below = answer_row(button("search_close_button", self.reject), self._choose)
        parts = (self._words, self._status, (self._list, 1), self._note, below)
        vertical(self, *parts, margin=MARGIN)
        self.leave_enter_alone()
        self.finished.connect(self._search.stop)
        session.changed.connect(self._show)
        self._show()

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        # The focus stays in the line; arrows and Enter act on the list.
        if self._list.take_key(event):
            return
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._search.search_now()
        else:
            super().keyPressEvent(event)

    @Slot(str)
    def _on_typed(self, typed: str) -> None:
        self._list.setCurrentIndex(QModelIndex())  # none
        self._search.set_words(typed)
        self._show()

    @Slot()
    def _show(self) -> None:
        state = self._session.state
        self._status.setText(search_line(state))
        found = found_models(state)
        basis = (found, state.machine, state.config, state.run_parent)
        if basis != self._basis:
            self._basis = basis
            self._found = {f"{SCHEME}{x.facts.name}": found_row(x) for x in found}
            self._to_estimate = list(found)
            self._estimates.start()
        self._fill()

    @Slot()
    def _estimate_next(self) -> None:
        if not self._to_estimate:
            self._estimates.stop()
            return
        row = estimated_row(self._session.state, self._to_estimate.pop(0))
        self._found[row.source] = row
        self._fill()

    def _fill(self) -> None:
        """Fill the list, if there is something new, and keep the selection."""
        state = self._session.state
        cached = models_there(state) if state.computer else self._cached
        local = local_rows(self._recent, cached, self._words.text())
        found = tuple(self._found.values())
        if (*local, *found) == self._shown:
            return
        self._shown = (*local, *found)
        with self._list.refilled():
            self._add(local_title(state), local)
            self._add(tr("On the Hugging Face Hub"), found)

    def _add(self, title: str, rows: tuple[SearchRow, ...]) -> None:
        group = self._list.add_group(title) if rows else None
        for row in rows:
            self._list.add_row(row.cells, row, row.source, group)

    @Slot()
    def _on_selected(self) -> None:
        row: SearchRow | None = self._list.current
        self._note.setText("" if row is None else row.note)
        nothing = tr("Select a model first.")
        enable_unless(self._choose, nothing if row is None else row.obstacle)

    @Slot()
    def _on_choose_clicked(self) -> None:
        if (row := self._list.current) is not None:
            self._on_opened(row)

    @Slot(object)
    def _on_opened(self, row: SearchRow) -> None:
        if not row.obstacle:
            self.accept()
            self.chosen.emit(row.source)
