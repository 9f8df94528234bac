"""A list of objects with columns, in groups if it has some."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QHeaderView,
    QTreeWidget,
    QTreeWidgetItem,
    QTreeWidgetItemIterator,
)

from surgeon_gui.widgets.controls import RIGHT, bold, described
from surgeon_gui.widgets.tool_tips import plain_tip

_OBJECT = Qt.ItemDataRole.UserRole
_MOVES = (Qt.Key.Key_Down, Qt.Key.Key_Up, Qt.Key.Key_PageDown, Qt.Key.Key_PageUp)


class ObjectList(QTreeWidget):
    """Shows a row for each object; the first column takes the room that is left.

    Args:
        name: The name of the widget and of its caption.
        titles: The titles of the columns.
        numbers: The columns that are aligned on the right.
        key: Returns what tells an object from the others.
    """

    opened = Signal(object)  # the object of a row that was activated

    def __init__(
        self,
        name: str,
        *titles: str,
        numbers: Collection[int] = (),
        key: Callable[[Any], object] = lambda found: found,
    ) -> None:
        super().__init__()
        described(self, name)
        self._numbers, self._key = numbers, key
        self._closed: set[str] = set()  # titles of groups that the user has closed
        self.setHeaderLabels(titles)
        self._align(self.headerItem())
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.ensurePolished()  # else the first rows have the height of another style
        self.itemActivated.connect(self._on_activated)
        self.itemCollapsed.connect(lambda group: self._closed.add(group.text(0)))
        self.itemExpanded.connect(lambda group: self._closed.discard(group.text(0)))

    @property
    def current(self) -> Any:
        """The object of the selected row; None if there is none."""
        rows = self.selectedItems()
        return rows[0].data(0, _OBJECT) if rows else None

    def select(self, found: Any) -> None:
        """Select the row of an object, if there is one."""
        each = QTreeWidgetItemIterator(self)
        while (row := each.value()) is not None:
            shown = row.data(0, _OBJECT)
            if shown is not None and self._key(shown) == self._key(found):
                self.setCurrentItem(row)
            each += 1

    @contextmanager
    def refilled(self) -> Iterator[None]:
        """Remove all rows.

        Selection, place and closed groups are as before once others are added.
        """
        current, place = self.current, self.verticalScrollBar().value()
        self.setAutoScroll(False)  # it opens the group of the current row
        with QSignalBlocker(self):
            self.clear()
            yield
            if current is not None:
                self.select(current)
        self.setAutoScroll(True)
        self.verticalScrollBar().setValue(place)
        self.itemSelectionChanged.emit()

    def add_row(
        self,
        cells: Sequence[str],
        found: object,
        tip: str = "",
        group: QTreeWidgetItem | None = None,
    ) -> QTreeWidgetItem:
        """Add the row of an object, at the end of the list or of a group."""
        row = QTreeWidgetItem(group or self.invisibleRootItem(), list(cells))
        row.setData(0, _OBJECT, found)
        row.setToolTip(0, plain_tip(tip))
        self._align(row)
        return row

    def add_group(
        self, *cells: str, found: object = None, tip: str = ""
    ) -> QTreeWidgetItem:
        """Add the title of a group; it can be selected if it stands for an object."""
        group = self.add_row(cells, found, tip)
        if found is None:
            group.setFlags(Qt.ItemFlag.ItemIsEnabled)
        for column in range(len(cells)):
            group.setFont(column, bold(self.font()))
        group.setFirstColumnSpanned(len(cells) == 1)
        group.setExpanded(cells[0] not in self._closed)
        return group

    def take_key(self, event: QKeyEvent) -> bool:
        """Move in the list, or open the selected row; return whether the key does so.

        So the focus can stay in the line that filters the list.
        """
        if event.key() in _MOVES:
            self.keyPressEvent(event)
            return True
        is_return = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_return and self.current is not None:
            self.opened.emit(self.current)
            return True
        return False

    def _align(self, row: QTreeWidgetItem) -> None:
        for column in self._numbers:
            row.setTextAlignment(column, RIGHT)

    @Slot(QTreeWidgetItem)
    def _on_activated(self, row: QTreeWidgetItem) -> None:
        if (found := row.data(0, _OBJECT)) is not None:
            self.opened.emit(found)
