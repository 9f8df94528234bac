"""The dialog about disk space: sizes of runs and caches, and what may be deleted."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QTreeWidgetItem, QWidget

from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.storage import StorageController
from surgeon_gui.state.storage import (
    KIND_NAMES,
    StoredItem,
    StoredKind,
    delete_question,
)
from surgeon_gui.text import numbers
from surgeon_gui.views.question import Question
from surgeon_gui.widgets.controls import (
    RIGHT,
    bold,
    button,
    enable_unless,
    list_with_columns,
    text_label,
)
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import vertical, with_button
from surgeon_gui.widgets.tool_tips import plain_tip

_SIZE = (620, 520)
_ITEM = Qt.ItemDataRole.UserRole


class DiskSpaceDialog(Dialog):
    """Shows the sizes by kind; one item of a cache can be deleted at a time."""

    def __init__(self, storage: StorageController, parent: QWidget) -> None:
        super().__init__("disk_space_dialog", tr("Disk space"), parent, _SIZE)
        self._storage = storage
        self._tree = list_with_columns("disk_space_tree", tr("Name"), tr("Size"))
        self._tree.setRootIsDecorated(True)
        self._tree.headerItem().setTextAlignment(1, RIGHT)
        self._tree.setUniformRowHeights(True)
        self._tree.currentItemChanged.connect(self._on_current_changed)
        self._together = ""
        self._total = text_label(name="disk_space_total")
        self._question = Question("disk_space", tr("Free disk space"), self)
        self._delete = button("disk_space_delete_button", self._on_delete_clicked)
        close = button("disk_space_close_button", self.accept)
        row = with_button(self._total, self._delete, close)
        vertical(self, (self._tree, 1), row, margin=MARGIN)
        storage.changed.connect(self._show)
        storage.runs.changed.connect(self._show)
        self._show()
        storage.read()

    @Slot()
    def _show(self) -> None:
        runs, items = self._storage.runs.state, self._storage.items or ()
        row = self._tree.currentItem()
        self._chosen = row.toolTip(0) if row is not None else ""
        self._tree.clear()
        group = self._group(tr("Runs"), sum(x.bytes for x in runs.records))
        for record in sorted(runs.records, key=lambda x: -x.bytes):
            row = self._row(group, runs.title(record), record.bytes)
            self._describe(row, record.folder)
        for kind in StoredKind:
            of_kind = [item for item in items if item.kind is kind]
            if not of_kind:
                continue
            group = self._group(KIND_NAMES[kind], sum(x.bytes for x in of_kind))
            for item in of_kind:
                is_whole = item.name == KIND_NAMES[kind]  # all that is in the group
                row = group if is_whole else self._row(group, item.name, item.bytes)
                self._describe(row, str(item.path))
                row.setData(0, _ITEM, item)
        self._tree.expandAll()
        sizes = [record.bytes for record in runs.records]
        total = sum((*sizes, *(item.bytes for item in items)))
        text = tr("Together {size}.").format(size=numbers.size(total))
        is_read = self._storage.items is not None
        self._together = text if is_read else tr("Reading…")
        self._on_current_changed()

    def _group(self, title: str, size: int) -> QTreeWidgetItem:
        group = QTreeWidgetItem([title, numbers.size(size)])
        group.setTextAlignment(1, RIGHT)
        for column in range(2):
            group.setFont(column, bold(self.font()))
        self._tree.addTopLevelItem(group)
        return group

    def _row(self, group: QTreeWidgetItem, name: str, size: int) -> QTreeWidgetItem:
        row = QTreeWidgetItem([name, numbers.size(size)])
        row.setTextAlignment(1, RIGHT)
        group.addChild(row)
        return row

    def _describe(self, row: QTreeWidgetItem, path: str) -> None:
        """Give a row its path as a tooltip, and select it if it was selected."""
        row.setToolTip(0, plain_tip(path))
        if row.toolTip(0) == self._chosen:
            self._tree.setCurrentItem(row)

    @property
    def _current(self) -> StoredItem | None:
        """The selected item of a cache; None: another row or none is selected."""
        row = self._tree.currentItem()
        found = row.data(0, _ITEM) if row is not None else None
        return found if isinstance(found, StoredItem) else None

    @Slot()
    def _on_current_changed(self) -> None:
        if (item := self._current) is not None:
            obstacle = self._storage.delete_obstacle(item)
        else:
            obstacle = tr(
                "Select something in a cache. Runs are deleted in the list of runs."
            )
        enable_unless(self._delete, obstacle)
        self._total.setText(f"{self._together} {obstacle}".rstrip())

    @Slot()
    def _on_delete_clicked(self) -> None:
        if (item := self._current) is not None:
            on_yes = partial(self._storage.delete, item)
            self._question.ask(*delete_question(item), on_yes)
