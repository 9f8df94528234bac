"""Item model of the runs that are shown as cards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
)
from typing_extensions import override

from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.state.runs.state import RunFilter, RunsState
from surgeon_gui.widgets.tool_tips import plain_tip

Index = QModelIndex | QPersistentModelIndex
_ROLES = Qt.ItemDataRole
RECORD = _ROLES.UserRole + 1  # RunRecord
PERCENT = _ROLES.UserRole + 2  # how far a run has come


class RunCards(QAbstractListModel):
    """The runs that match a filter; a name can be edited, and a run be ticked."""

    def __init__(self, runs: RunsController, parent: QObject) -> None:
        super().__init__(parent)
        self._runs = runs
        self._state = RunsState()
        self._titles: dict[str, str] = {}  # by folder
        self._records: list[RunRecord] = []  # the runs shown

    def show_runs(self, state: RunsState, wanted: RunFilter) -> None:
        """Show the runs that match a filter; the selection and the place stay."""
        if state.records is not self._state.records:  # else there are new ticks
            self._titles = state.titles
        self._state = state
        found = [record for record in state.records if wanted.matches(record)]
        folders = [record.folder for record in found]
        self._remove_others(set(folders))
        if self._insert_new(found) != folders:  # in another order
            self.beginResetModel()
            self._records = found
            self.endResetModel()
        self._records = found
        if found:
            self.dataChanged.emit(self.index(0), self.index(len(found) - 1))

    def _remove_others(self, folders: set[str]) -> None:
        for row in reversed(range(len(self._records))):
            if self._records[row].folder not in folders:
                self.beginRemoveRows(QModelIndex(), row, row)
                del self._records[row]
                self.endRemoveRows()

    def _insert_new(self, found: Sequence[RunRecord]) -> list[str]:
        """Insert the runs that are new; return the folders in their order."""
        shown = {record.folder for record in self._records}
        for row, record in enumerate(found):
            if record.folder not in shown:
                self.beginInsertRows(QModelIndex(), row, row)
                self._records.insert(row, record)
                self.endInsertRows()
        return [record.folder for record in self._records]

    def record_at(self, row: int) -> RunRecord:
        """Return the run in a row."""
        return self._records[row]

    def index_of(self, folder: str) -> QModelIndex:
        """Return the index of a run; an invalid one if it is not shown."""
        for row, record in enumerate(self._records):
            if record.folder == folder:
                return self.index(row)
        return QModelIndex()

    @override
    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._records)

    @override
    def data(self, index: Index, role: int = _ROLES.DisplayRole) -> Any:
        record = self._records[index.row()]
        title = self._titles[record.folder]
        percent = self._state.percent(record)
        match role:
            case _ROLES.DisplayRole:
                return title
            case _ROLES.EditRole:
                return run_text.title(record)
            case _ROLES.ToolTipRole:
                details = run_text.outcome_details(record)
                return plain_tip(f"{title}\n{run_text.date(record)}\n{details}".strip())
            case _ROLES.AccessibleTextRole:
                return run_text.spoken(record, title, percent, datetime.now())
            case _ROLES.CheckStateRole if record.outcome is not RunOutcome.DAMAGED:
                is_ticked = record.folder in self._state.ticked
                states = Qt.CheckState
                return states.Checked if is_ticked else states.Unchecked
        return {RECORD: record, PERCENT: percent}.get(role)

    @override
    def setData(self, index: Index, value: Any, role: int = _ROLES.EditRole) -> bool:
        # The list changes once the controller has done it.
        record = self._records[index.row()]
        if role == _ROLES.CheckStateRole:
            is_ticked = Qt.CheckState(value) is Qt.CheckState.Checked
            self._runs.tick(record.folder, is_ticked)
            return True
        if role == _ROLES.EditRole and value != run_text.title(record):
            self._runs.rename(record.folder, value)
            return True
        return False

    @override
    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled
        flags |= Qt.ItemFlag.ItemIsEditable
        if self._records[index.row()].outcome is not RunOutcome.DAMAGED:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags
