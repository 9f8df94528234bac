"""The dialog about disk space: sizes of runs and caches, and what may be deleted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QWidget

from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.storage import StorageController
from surgeon_gui.state.runs.reading import RunRecord
from surgeon_gui.state.storage import (
    KIND_NAMES,
    StoredItem,
    StoredKind,
    delete_question,
)
from surgeon_gui.text import numbers
from surgeon_gui.views.question import Question
from surgeon_gui.widgets.controls import button, enable_unless, text_label
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import vertical, with_button
from surgeon_gui.widgets.object_list import ObjectList

_SIZE = (620, 520)


class DiskSpaceDialog(Dialog):
    """Shows the sizes by kind; one item of a cache can be deleted at a time."""

    def __init__(self, storage: StorageController, parent: QWidget) -> None:
        super().__init__("disk_space_dialog", tr("Disk space"), parent, _SIZE)
        self._storage = storage
        titles = (tr("Name"), tr("Size"))
        self._tree = ObjectList("disk_space_tree", *titles, numbers=(1,), key=_path)
        self._tree.setRootIsDecorated(True)
        self._tree.itemSelectionChanged.connect(self._on_selected)
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
        with self._tree.refilled():
            size = numbers.size(sum(x.bytes for x in runs.records))
            group = self._tree.add_group(tr("Runs"), size)
            for record in sorted(runs.records, key=lambda x: -x.bytes):
                cells = (runs.title(record), numbers.size(record.bytes))
                self._tree.add_row(cells, record, record.folder, group)
            for kind in StoredKind:
                self._add(kind, [item for item in items if item.kind is kind])
        sizes = [record.bytes for record in runs.records]
        total = sum((*sizes, *(item.bytes for item in items)))
        text = tr("Together {size}.").format(size=numbers.size(total))
        is_read = self._storage.items is not None
        self._together = text if is_read else tr("Reading…")
        self._on_selected()

    def _add(self, kind: StoredKind, items: Sequence[StoredItem]) -> None:
        """Add a group with the items of a kind; one that is all of it is the group."""
        if not items:
            return
        cells = (KIND_NAMES[kind], numbers.size(sum(item.bytes for item in items)))
        if items[0].name == KIND_NAMES[kind]:
            self._tree.add_group(*cells, found=items[0], tip=str(items[0].path))
            return
        group = self._tree.add_group(*cells)
        for item in items:
            cells = (item.name, numbers.size(item.bytes))
            self._tree.add_row(cells, item, str(item.path), group)

    @property
    def _current(self) -> StoredItem | None:
        """The selected item of a cache; None: another row or none is selected."""
        found = self._tree.current
        return found if isinstance(found, StoredItem) else None

    @Slot()
    def _on_selected(self) -> None:
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


def _path(found: StoredItem | RunRecord) -> str:
    return found.folder if isinstance(found, RunRecord) else str(found.path)
