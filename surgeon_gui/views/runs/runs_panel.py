"""The dock with the runs of before: search, table, what is known of one, buttons."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import (
    ntr,
    tr,
)
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import (
    RunOutcome,
    RunRecord,
)
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.runs.delete_question import DeleteQuestion
from surgeon_gui.views.runs.runs_table import (
    BEGUN,
    NAME,
    FilteredRuns,
    RunsTable,
)
from surgeon_gui.views.steps.run_page import open_folder
from surgeon_gui.widgets.controls import (
    button,
    described,
    text_label,
)
from surgeon_gui.widgets.facts import Facts
from surgeon_gui.widgets.scrolling import scrolling

_MIN_WIDTH = 300
_NAME_WIDTH = 178
_FACTS_HEIGHT = 190
_ONE = ("open", "rename", "duplicate", "folder", "delete")  # what is done with one run


class RunsPanel(QWidget):
    """Shows the list; what the user does goes to `RunsController`."""

    compare_clicked = Signal()

    def __init__(self, runs: RunsController) -> None:
        super().__init__()
        self._runs = runs
        self._question = DeleteQuestion(self)
        self._question.agreed.connect(runs.delete)
        self._search = described(QLineEdit(clearButtonEnabled=True), "runs_search_edit")
        self._search.setPlaceholderText(tr("Search…"))
        self._refresh = button("runs_refresh_button")
        self._table = RunsTable(self)
        self._found = FilteredRuns(self._table, self)
        self._view = described(QTreeView(), "runs_table")
        self._empty = text_label(quiet=True)
        self._empty.setObjectName("runs_note")
        self._facts = Facts("run_facts")
        self._details = scrolling(_at_the_top(self._facts))
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
        """Let the user type another name for the run that is chosen."""
        index = self._view.currentIndex()
        if index.isValid():
            self._view.edit(index.siblingAtColumn(NAME))

    def _make_actions(self) -> None:
        slots: dict[str, tuple[Callable[[], None], str]] = {
            "open": (self._on_open, ""),  # Return, by the view itself
            "compare": (self._on_compare, ""),
            "rename": (self.rename_current, "F2"),
            "duplicate": (self._on_duplicate, ""),
            "folder": (self._on_folder, ""),
            "delete": (self._on_delete, "Del"),
        }
        for name, (slot, keys) in slots.items():
            action = QAction(CAPTIONS[f"runs_{name}_action"].label, self)
            action.setObjectName(f"runs_{name}_action")
            action.setShortcut(QKeySequence(keys))
            action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
            action.triggered.connect(slot)
            self._view.addAction(action)
            self._menu.addAction(action)
            self._actions[name] = action

    def _make_view(self) -> None:
        view = self._view
        view.setModel(self._found)
        view.setRootIsDecorated(False)
        view.setUniformRowHeights(True)
        view.setAllColumnsShowFocus(True)
        view.setSortingEnabled(True)
        view.sortByColumn(BEGUN, Qt.SortOrder.DescendingOrder)
        view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setTextElideMode(Qt.TextElideMode.ElideRight)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        for column in range(self._table.columnCount()):
            view.setColumnWidth(column, 108)
        view.setColumnWidth(NAME, _NAME_WIDTH)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.setSpacing(GAP)
        top.addWidget(self._search, 1)
        top.addWidget(self._refresh)
        bottom = QHBoxLayout()
        bottom.setSpacing(GAP)
        for made in (self._open, self._compare, self._more):
            bottom.addWidget(made, 1)
        self._more.setMenu(self._menu)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(GAP, GAP, MARGIN, MARGIN)
        layout.setSpacing(GAP)
        layout.addLayout(top)
        layout.addWidget(self._view, 1)
        layout.addWidget(self._empty)
        layout.addWidget(self._details)
        layout.addLayout(bottom)
        self._details.setMaximumHeight(_FACTS_HEIGHT)
        self.setMinimumWidth(_MIN_WIDTH)

    def _connect(self) -> None:
        self._runs.changed.connect(self._on_changed)
        self._search.textChanged.connect(self._on_search_changed)
        self._refresh.clicked.connect(self._runs.refresh)
        self._refresh.setShortcut(QKeySequence("F5"))
        self._table.renamed.connect(self._runs.rename)
        self._table.ticked.connect(self._runs.tick)
        self._view.activated.connect(self._on_activated)
        self._view.customContextMenuRequested.connect(self._on_menu_wanted)
        self._view.selectionModel().selectionChanged.connect(self._on_chosen)
        self._open.clicked.connect(self._on_open)
        self._compare.clicked.connect(self._on_compare)

    @property
    def _chosen(self) -> list[RunRecord]:
        rows = self._view.selectionModel().selectedRows()
        return [self._found.record_of(index) for index in rows]

    @Slot()
    def _on_changed(self) -> None:
        chosen = {record.folder for record in self._chosen}
        self._table.show_runs(self._runs.state)
        if chosen and not self._chosen:  # the table has been filled anew
            self._choose(chosen)
        self._on_chosen()

    def _choose(self, folders: set[str]) -> None:
        for row in range(self._found.rowCount()):
            index = self._found.index(row, NAME)
            if self._found.record_of(index).folder in folders:
                self._view.setCurrentIndex(index)
                return

    @Slot()
    def _on_chosen(self) -> None:
        chosen, state = self._chosen, self._runs.state
        one = chosen[0] if len(chosen) == 1 else None
        self._facts.show_facts(run_text.facts(one) if one else ())
        self._details.setVisible(one is not None)
        note = _note(len(state.records), self._found.rowCount(), state.problem)
        self._empty.setText(note if state.has_been_read else tr("Reading…"))
        self._empty.setVisible(not self._found.rowCount())
        self._view.setVisible(bool(self._found.rowCount()))
        for name in _ONE:
            self._actions[name].setEnabled(one is not None)
        is_readable = one is not None and one.config is not None
        self._actions["duplicate"].setEnabled(is_readable)
        is_openable = one is not None and one.outcome is not RunOutcome.DAMAGED
        self._actions["open"].setEnabled(is_openable)
        self._open.setEnabled(is_openable)
        self._more.setEnabled(bool(chosen))
        compared = self._compared()
        self._compare.setEnabled(len(compared) > 1)
        self._actions["compare"].setEnabled(len(compared) > 1)
        count = ntr("Compare {n}", "Compare {n}", len(compared))
        caption = CAPTIONS["runs_compare_button"].label
        many = count.format(n=len(compared))
        self._compare.setText(many if len(compared) > 1 else caption)

    def _compared(self) -> tuple[str, ...]:
        """The runs that a comparison would be of: those ticked, or those selected."""
        if len(self._runs.state.ticked) > 1 or len(self._chosen) < 2:
            return self._runs.state.ticked
        return tuple(
            record.folder
            for record in self._chosen
            if record.outcome is not RunOutcome.DAMAGED
        )

    @Slot(str)
    def _on_search_changed(self, search: str) -> None:
        self._found.search_for(search)
        self._on_chosen()

    @Slot(QModelIndex)
    def _on_activated(self, index: QModelIndex) -> None:
        self._runs.reopen(self._found.record_of(index).folder)

    @Slot()
    def _on_open(self) -> None:
        self._do(self._runs.reopen)

    @Slot()
    def _on_duplicate(self) -> None:
        self._do(self._runs.duplicate)

    @Slot()
    def _on_folder(self) -> None:
        self._do(open_folder)

    @Slot()
    def _on_compare(self) -> None:
        self._runs.tick_only(self._compared())
        self.compare_clicked.emit()

    @Slot()
    def _on_delete(self) -> None:
        for record in self._chosen[:1]:
            if self._runs.delete_obstacle(record.folder):
                self._runs.delete(record.folder)  # says why it cannot be
            else:
                self._question.ask(record.folder, run_text.title(record))

    @Slot(QPoint)
    def _on_menu_wanted(self, place: QPoint) -> None:
        if self._chosen:
            self._menu.popup(self._view.viewport().mapToGlobal(place))

    def _do(self, what: Callable[[str], object]) -> None:
        for record in self._chosen[:1]:
            what(record.folder)


def _at_the_top(widget: QWidget) -> QWidget:
    """Something around a widget that takes the room that the widget does not need."""
    outer = QWidget()
    layout = QVBoxLayout(outer)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(widget)
    layout.addStretch()
    return outer


def _note(all_runs: int, found: int, problem: str) -> str:
    """What is said in place of an empty list."""
    if problem:
        return problem
    if not all_runs:
        return tr("There is no run yet. Each run appears here once it has begun.")
    if not found:
        words = ntr(
            "The run here does not fit the search.",
            "None of the {n} runs here fits the search.",
            all_runs,
        )
        return words.format(n=all_runs)
    return ""
