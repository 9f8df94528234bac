"""The runs of before as a table, for a view that sorts, searches and renames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)

from surgeon_gui.base.translation import tr
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import (
    RunOutcome,
    RunRecord,
)
from surgeon_gui.state.runs.state import RunsState

Index = QModelIndex | QPersistentModelIndex
_ROLES = Qt.ItemDataRole
SORTED_BY = _ROLES.UserRole + 1
_WORST = float("inf")  # where a figure is missing, the run comes last


class _Column(NamedTuple):
    title: str
    shown: Callable[[RunRecord], str]
    sorted_by: Callable[[RunRecord], Any]


def _in_small(shown: Callable[[RunRecord], str]) -> Callable[[RunRecord], str]:
    return lambda record: shown(record).casefold()


def _perplexity(record: RunRecord) -> float:
    found = record.perplexity_after or record.perplexity_before
    return _WORST if found is None else found


def _target(record: RunRecord) -> float:
    return _WORST if record.sparsity is None else record.sparsity


COLUMNS = (
    _Column(tr("Name"), run_text.title, _in_small(run_text.title)),
    _Column(tr("Perplexity"), run_text.perplexity, _perplexity),
    _Column(tr("Left"), run_text.parameters, lambda record: record.parameters_left),
    _Column(tr("Status"), run_text.outcome, _in_small(run_text.outcome)),
    _Column(tr("Begun"), run_text.date, lambda record: record.began),
    _Column(tr("Model"), run_text.model, _in_small(run_text.model)),
    _Column(tr("Removed"), run_text.structure, _in_small(run_text.structure)),
    _Column(tr("Target"), run_text.target, _target),
    _Column(tr("Time"), run_text.duration, lambda record: record.seconds),
)
NAME, BEGUN = 0, 4


class RunsTable(QAbstractTableModel):
    """A row for each run; the name can be edited and carries the tick."""

    renamed = Signal(str, str)  # folder, name
    ticked = Signal(str, bool)  # folder, whether it is ticked

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._state = RunsState()

    def show_runs(self, state: RunsState) -> None:
        """Show these runs in place of what was shown."""
        old = [record.folder for record in self._state.records]
        if old == [record.folder for record in state.records]:
            self._state = state
            if old:
                last = self.index(len(old) - 1, len(COLUMNS) - 1)
                self.dataChanged.emit(self.index(0, 0), last)
            return
        self.beginResetModel()
        self._state = state
        self.endResetModel()

    def record_at(self, row: int) -> RunRecord:
        """The run in a row."""
        return self._state.records[row]

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """See `QAbstractItemModel`."""
        return 0 if parent.isValid() else len(self._state.records)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """See `QAbstractItemModel`."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _ROLES.DisplayRole
    ) -> Any:
        """The titles of the columns."""
        if orientation is Qt.Orientation.Horizontal and role == _ROLES.DisplayRole:
            return COLUMNS[section].title
        return None

    def data(self, index: Index, role: int = _ROLES.DisplayRole) -> Any:
        """What a cell shows, and what it is sorted by."""
        record, column = self._state.records[index.row()], COLUMNS[index.column()]
        match role:
            case _ROLES.DisplayRole:
                return column.shown(record)
            case _ROLES.EditRole:
                return run_text.title(record)
            case _ROLES.ToolTipRole:
                return run_text.outcome_details(record) or column.shown(record)
            case _ROLES.CheckStateRole if index.column() == NAME:
                if record.outcome is RunOutcome.DAMAGED:
                    return None
                is_ticked = record.folder in self._state.ticked
                states = Qt.CheckState
                return states.Checked if is_ticked else states.Unchecked
        return column.sorted_by(record) if role == SORTED_BY else None

    def setData(self, index: Index, value: Any, role: int = _ROLES.EditRole) -> bool:
        """Tell what the user wants; the list follows when it is so."""
        record = self._state.records[index.row()]
        if role == _ROLES.CheckStateRole:
            is_on = Qt.CheckState(value) is Qt.CheckState.Checked
            self.ticked.emit(record.folder, is_on)
            return True
        if role == _ROLES.EditRole and value != run_text.title(record):
            self.renamed.emit(record.folder, value)
            return True
        return False

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Names can be edited, and runs ticked of which there is something to see."""
        flags = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled
        if index.column() == NAME:
            flags |= Qt.ItemFlag.ItemIsEditable
            if self._state.records[index.row()].outcome is not RunOutcome.DAMAGED:
                flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags


class FilteredRuns(QSortFilterProxyModel):
    """Those of the runs that a search finds, sorted by a column."""

    def __init__(self, table: RunsTable, parent: QObject) -> None:
        super().__init__(parent)
        self._table = table
        self._search = ""
        self.setSourceModel(table)
        self.setSortRole(SORTED_BY)
        self.sort(BEGUN, Qt.SortOrder.DescendingOrder)

    def search_for(self, search: str) -> None:
        """Leave only the runs that have all these words."""
        self._search = search
        self.invalidate()

    def filterAcceptsRow(self, row: int, parent: Index) -> bool:
        """Whether a run is found."""
        return run_text.matches_search(self._table.record_at(row), self._search)

    def record_of(self, index: Index) -> RunRecord:
        """The run in a row of what is shown."""
        return self._table.record_at(self.mapToSource(index).row())
