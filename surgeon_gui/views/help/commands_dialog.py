"""The command palette: all commands with their shortcuts, filtered by typing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QLineEdit, QMenu, QMenuBar, QTreeWidgetItem, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.search_words import WORDS
from surgeon_gui.widgets.controls import (
    bold,
    button,
    described,
    list_with_columns,
    move_in_list,
    text_label,
)
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import vertical, with_button

_SIZE = (560, 560)
_ACTION = Qt.ItemDataRole.UserRole


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command with its menu, name and shortcuts."""

    menu: str
    name: str
    keys: str
    action: QAction


def entries_of(bar: QMenuBar) -> tuple[CommandEntry, ...]:
    """Return the commands of all menus in their order."""
    return tuple(entry for top in bar.actions() for entry in _entries(top, ()))


def _entries(action: QAction, path: tuple[str, ...]) -> Iterator[CommandEntry]:
    menu = action.menu()
    if action.isSeparator():
        return
    if isinstance(menu, QMenu):
        for inner in menu.actions():
            yield from _entries(inner, (*path, _plain(action.text())))
        return
    keys = ", ".join(
        key.toString(QKeySequence.SequenceFormat.NativeText)
        for key in action.shortcuts()
    )
    # In submenus the name alone may be unclear, such as "Dark".
    name = ": ".join((*path[1:], _plain(action.text())))
    yield CommandEntry(path[0], name, keys, action)


class CommandsDialog(Dialog):
    """Lists the commands by menu; unavailable ones are disabled."""

    def __init__(self, bar: QMenuBar, parent: QWidget) -> None:
        title = tr("Commands and keyboard shortcuts")
        super().__init__("commands_dialog", title, parent, _SIZE)
        self._filter = described(QLineEdit(clearButtonEnabled=True), "command_filter")
        self._filter.setPlaceholderText(CAPTIONS["command_filter"].tip)
        self._filter.textChanged.connect(self._refilter)
        self._list = list_with_columns("command_list", tr("Command"), tr("Keys"))
        self._list.setUniformRowHeights(True)
        self._list.itemActivated.connect(self._on_activated)
        self._fill(entries_of(bar))
        hint = tr("Enter runs the selected command. Alt opens the menus.")
        close = button("commands_close_button", self.accept)
        below = with_button(text_label(hint, quiet=True), close)
        vertical(self, self._filter, (self._list, 1), below, margin=MARGIN)
        self.leave_enter_alone()
        self._refilter("")

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        # The focus stays in the filter; arrows and Enter act on the list.
        if move_in_list(self._list, event):
            return
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if (item := self._list.currentItem()) is not None:
                self._on_activated(item)
        else:
            super().keyPressEvent(event)

    def _fill(self, entries: tuple[CommandEntry, ...]) -> None:
        groups: dict[str, QTreeWidgetItem] = {}
        for entry in entries:
            if entry.menu not in groups:
                groups[entry.menu] = group = QTreeWidgetItem([entry.menu])
                group.setFlags(Qt.ItemFlag.ItemIsEnabled)
                group.setFont(0, bold(self.font()))
                self._list.addTopLevelItem(group)
                group.setFirstColumnSpanned(True)
                group.setExpanded(True)
            item = QTreeWidgetItem([entry.name, entry.keys])
            item.setData(0, _ACTION, entry.action)
            item.setDisabled(not entry.action.isEnabled())
            groups[entry.menu].addChild(item)

    @Slot(str)
    def _refilter(self, typed: str) -> None:
        """Show the commands that contain all typed words; select the first."""
        words = typed.casefold().split()
        first = None
        for group in self._groups():
            for item in _children(group):
                programs = WORDS.get(item.data(0, _ACTION).objectName(), "")
                shown = (group.text(0), item.text(0), item.text(1), programs)
                text = " ".join(shown).casefold()
                item.setHidden(not all(word in text for word in words))
                if not item.isHidden() and not item.isDisabled() and first is None:
                    first = item
            group.setHidden(all(item.isHidden() for item in _children(group)))
        self._list.clearSelection()
        if first is not None:
            self._list.setCurrentItem(first)

    @Slot(QTreeWidgetItem)
    def _on_activated(self, item: QTreeWidgetItem) -> None:
        action = item.data(0, _ACTION)
        if isinstance(action, QAction) and action.isEnabled():
            self.accept()
            action.trigger()

    def _groups(self) -> list[QTreeWidgetItem]:
        return _children(self._list.invisibleRootItem())


def _children(group: QTreeWidgetItem) -> list[QTreeWidgetItem]:
    found = (group.child(index) for index in range(group.childCount()))
    return [child for child in found if child is not None]


def _plain(label: str) -> str:
    return label.replace("&", "").removesuffix("\N{HORIZONTAL ELLIPSIS}")
