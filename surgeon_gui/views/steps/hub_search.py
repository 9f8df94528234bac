"""The dialog that finds a model: on the engine's computer, or on the Hub."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QLineEdit, QTreeWidget, QTreeWidgetItem, QWidget
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
from surgeon_gui.widgets.controls import (
    RIGHT,
    bold,
    button,
    described,
    enable_unless,
    list_with_columns,
    move_in_list,
    text_label,
)
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import answer_row, vertical
from surgeon_gui.widgets.tool_tips import plain_tip

_SIZE = (880, 480)
_NOTE_LINES = 4  # for which there is room
_ROW = Qt.ItemDataRole.UserRole


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
        self._basis: tuple[object, ...] = ()  # of the rows of found models
        self._found: dict[str, SearchRow] = {}  # by source
        self._shown: tuple[SearchRow, ...] | None = None
        self._to_estimate: list[HubModel] = []
        self._estimates = QTimer(self)  # one model after the other: the window responds
        self._estimates.timeout.connect(self._estimate_next)
        self._words = described(QLineEdit(clearButtonEnabled=True), "search_edit")
        self._words.setPlaceholderText(CAPTIONS["search_edit"].tip)
        self._words.textChanged.connect(self._on_typed)
        self._list = _empty_list()
        self._list.itemActivated.connect(self._on_activated)
        self._list.currentItemChanged.connect(self._on_current_changed)
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
        if move_in_list(self._list, event):
            return
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if (item := self._list.currentItem()) is not None:
                self._on_activated(item)
            else:
                self._search.search_now()
        else:
            super().keyPressEvent(event)

    @Slot(str)
    def _on_typed(self, typed: str) -> None:
        self._list.setCurrentItem(self._list.invisibleRootItem())  # none
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
        current, position = self._current, self._list.verticalScrollBar().value()
        self._list.clear()
        self._add(local_title(state), local, current)
        self._add(tr("On the Hugging Face Hub"), found, current)
        self._list.verticalScrollBar().setValue(position)
        self._on_current_changed()

    def _add(
        self, title: str, rows: tuple[SearchRow, ...], current: SearchRow | None
    ) -> None:
        """Add rows below a title, and select the one that was selected before."""
        if not rows:
            return
        group = QTreeWidgetItem([title])
        group.setFlags(Qt.ItemFlag.ItemIsEnabled)
        group.setFont(0, bold(self.font()))
        self._list.addTopLevelItem(group)
        group.setFirstColumnSpanned(True)
        group.setExpanded(True)
        for row in rows:
            item = QTreeWidgetItem(list(row.cells))
            item.setData(0, _ROW, row)
            item.setToolTip(0, plain_tip(row.source))
            for column in NUMBERS:
                item.setTextAlignment(column, RIGHT)
            group.addChild(item)
            if current is not None and row.source == current.source:
                self._list.setCurrentItem(item)

    @property
    def _current(self) -> SearchRow | None:
        """The selected row."""
        item = self._list.currentItem()
        row = None if item is None else item.data(0, _ROW)
        return row if isinstance(row, SearchRow) else None

    @Slot()
    def _on_current_changed(self) -> None:
        row = self._current
        self._note.setText("" if row is None else row.note)
        nothing = tr("Select a model first.")
        enable_unless(self._choose, nothing if row is None else row.obstacle)

    @Slot()
    def _on_choose_clicked(self) -> None:
        if (item := self._list.currentItem()) is not None:
            self._on_activated(item)

    @Slot(QTreeWidgetItem)
    def _on_activated(self, item: QTreeWidgetItem) -> None:
        row = item.data(0, _ROW)
        if isinstance(row, SearchRow) and not row.obstacle:
            self.accept()
            self.chosen.emit(row.source)


def _empty_list() -> QTreeWidget:
    models = list_with_columns("search_list", *COLUMNS)
    for column in NUMBERS:
        models.headerItem().setTextAlignment(column, RIGHT)
    models.setUniformRowHeights(True)
    return models
