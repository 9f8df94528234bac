"""Item models of the runs: a table, and a proxy that sorts and filters it."""

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
from PySide6.QtGui import QFontMetrics, QPainter
from PySide6.QtWidgets import (
    QApplication,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
)
from typing_extensions import override

from surgeon_gui.base.translation import tr
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.reading import (
    RunOutcome,
    RunRecord,
)
from surgeon_gui.state.runs.state import RunFilter, RunsState
from surgeon_gui.widgets.tool_tips import plain_tip

Index = QModelIndex | QPersistentModelIndex
_ROLES = Qt.ItemDataRole
SORTED_BY = _ROLES.UserRole + 1
_MISSING = float("inf")  # runs without a figure come last
NAME, STARTED = 0, 5
_MIDDLE = Qt.TextElideMode.ElideMiddle
_SEPARATOR = ", "
_MODEL_SHARE = 4  # the name of the model keeps at least 1 / 4 of the width


class _Column(NamedTuple):
    title: str
    shown: Callable[[RunRecord], str]
    sorted_by: Callable[[RunRecord], Any]
    details: Callable[[RunRecord], str] = run_text.outcome_details  # tooltip


def _casefolded(shown: Callable[[RunRecord], str]) -> Callable[[RunRecord], str]:
    return lambda record: shown(record).casefold()


def _perplexity(record: RunRecord) -> float:
    found = record.perplexity_after or record.perplexity_before
    return _MISSING if found is None else found


def _divergence(record: RunRecord) -> float:
    return record.fidelity[0].divergence.value if record.fidelity else _MISSING


def _target(record: RunRecord) -> float:
    return _MISSING if record.sparsity is None else record.sparsity


COLUMNS = (
    _Column(tr("Name"), run_text.title, _casefolded(run_text.title)),
    _Column(tr("KL"), run_text.divergence, _divergence, run_text.fidelity_lines),
    _Column(tr("Perplexity"), run_text.perplexity, _perplexity),
    _Column(
        tr("Remaining"), run_text.parameters, lambda record: record.parameters_left
    ),
    _Column(tr("Status"), run_text.outcome, _casefolded(run_text.outcome)),
    _Column(tr("Started"), run_text.date, lambda record: record.began),
    _Column(tr("Model"), run_text.model, _casefolded(run_text.model)),
    _Column(tr("Structure"), run_text.structure, _casefolded(run_text.structure)),
    _Column(tr("Target"), run_text.target, _target),
    _Column(tr("Time"), run_text.duration, lambda record: record.seconds),
    _Column(tr("Tags"), run_text.tags, _casefolded(run_text.tags)),
    _Column(
        tr("Disk space"),
        run_text.disk_space,
        lambda record: record.bytes,
        run_text.disk_space_details,
    ),
)


class RunsTable(QAbstractTableModel):
    """A row for each run; the name can be edited and has a check box."""

    renamed = Signal(str, str)  # folder, name
    ticked = Signal(str, bool)  # folder, whether it is ticked

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._state = RunsState()
        self._titles: dict[str, str] = {}  # by folder

    def show_runs(self, state: RunsState) -> None:
        """Show the runs of `state`."""
        old = [record.folder for record in self._state.records]
        self._titles = state.titles
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
        """Return the run in a row."""
        return self._state.records[row]

    @override
    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._state.records)

    @override
    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(COLUMNS)

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _ROLES.DisplayRole
    ) -> Any:
        if orientation is Qt.Orientation.Horizontal and role == _ROLES.DisplayRole:
            return COLUMNS[section].title
        return None

    @override
    def data(self, index: Index, role: int = _ROLES.DisplayRole) -> Any:
        record, column = self._state.records[index.row()], COLUMNS[index.column()]
        match role:
            case _ROLES.DisplayRole if index.column() == NAME:
                return self._titles[record.folder]
            case _ROLES.DisplayRole:
                return column.shown(record)
            case _ROLES.ToolTipRole if index.column() == NAME:
                title = self._titles[record.folder]
                return plain_tip(f"{title}\n{column.details(record)}".strip())
            case _ROLES.EditRole:
                return run_text.title(record)
            case _ROLES.ToolTipRole:
                return plain_tip(column.details(record) or column.shown(record))
            case _ROLES.CheckStateRole if index.column() == NAME:
                if record.outcome is RunOutcome.DAMAGED:
                    return None
                is_ticked = record.folder in self._state.ticked
                states = Qt.CheckState
                return states.Checked if is_ticked else states.Unchecked
        return column.sorted_by(record) if role == SORTED_BY else None

    @override
    def setData(self, index: Index, value: Any, role: int = _ROLES.EditRole) -> bool:
        # Only signals: the list changes once the controller has done it.
        record = self._state.records[index.row()]
        if role == _ROLES.CheckStateRole:
            is_ticked = Qt.CheckState(value) is Qt.CheckState.Checked
            self.ticked.emit(record.folder, is_ticked)
            return True
        if role == _ROLES.EditRole and value != run_text.title(record):
            self.renamed.emit(record.folder, value)
            return True
        return False

    @override
    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled
        if index.column() == NAME:
            flags |= Qt.ItemFlag.ItemIsEditable
            if self._state.records[index.row()].outcome is not RunOutcome.DAMAGED:
                flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags


class FilteredRuns(QSortFilterProxyModel):
    """The runs that match a filter, sorted by a column."""

    def __init__(self, table: RunsTable, parent: QObject) -> None:
        super().__init__(parent)
        self._table = table
        self._wanted = RunFilter()
        self.setSourceModel(table)
        self.setSortRole(SORTED_BY)
        self.sort(STARTED, Qt.SortOrder.DescendingOrder)

    def show_matching(self, wanted: RunFilter) -> None:
        """Show only runs that match a filter."""
        self._wanted = wanted
        self.invalidate()

    @override
    def filterAcceptsRow(self, row: int, parent: Index) -> bool:
        return self._wanted.matches(self._table.record_at(row))

    def record_of(self, index: Index) -> RunRecord:
        """Return the run at an index of this model."""
        return self._table.record_at(self.mapToSource(index).row())


class TitleDelegate(QStyledItemDelegate):
    """Shortens the name of the model first, then the middle of the rest."""

    @override
    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        shown = QStyleOptionViewItem(option)
        self.initStyleOption(shown, index)
        widget = shown.widget
        style = widget.style() if widget is not None else QApplication.style()
        part = QStyle.SubElement.SE_ItemViewItemText
        width = style.subElementRect(part, shown, widget).width()
        margin = style.pixelMetric(
            QStyle.PixelMetric.PM_FocusFrameHMargin, shown, widget
        )
        shown.text = elided_title(shown.text, shown.fontMetrics, width - 2 * margin - 2)
        element = QStyle.ControlElement.CE_ItemViewItem
        style.drawControl(element, shown, painter, widget)


def elided_title(title: str, metrics: QFontMetrics, width: int) -> str:
    """Return a title that fits a width in pixels.

    Titles begin with the model, which most runs have in common, and end with what
    tells equal ones apart.
    """
    if metrics.horizontalAdvance(title) <= width:
        return title
    model, separator, rest = title.partition(_SEPARATOR)
    if not separator:
        return metrics.elidedText(title, _MIDDLE, width)
    end = separator + rest
    room = max(width - metrics.horizontalAdvance(end), width // _MODEL_SHARE)
    model = metrics.elidedText(model, _MIDDLE, room)
    left = width - metrics.horizontalAdvance(model)
    return model + metrics.elidedText(end, _MIDDLE, left)
