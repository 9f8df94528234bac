"""The command palette: all commands with their shortcuts, filtered by typing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PySide6.QtCore import Slot
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QLineEdit, QMenu, QMenuBar, QTreeWidgetItem, QWidget
from typing_extensions import override

from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.captions.caption import spoken
from surgeon_gui.text.search_words import WORDS
from surgeon_gui.widgets.controls import button, described, text_label
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import vertical, with_button
from surgeon_gui.widgets.object_list import ObjectList

_SIZE = (560, 560)


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command with its menu, name and shortcuts."""

    menu: str
    name: str
    keys: str
    action: QAction

    def contains(self, words: Sequence[str]) -> bool:
        """Return whether the command is found by these words, in lower case."""
        programs = WORDS.get(self.action.objectName(), "")
        text = " ".join((self.menu, self.name, self.keys, programs)).casefold()
        return all(word in text for word in words)


def entries_of(bar: QMenuBar) -> tuple[CommandEntry, ...]:
    """Return the commands of all menus in their order, and last what was used."""
    found = [entry for top in bar.actions() for entry in _entries(top, ())]
    return tuple(sorted(found, key=lambda each: _is_recent(each.action)))


def _entries(action: QAction, path: tuple[str, ...]) -> Iterator[CommandEntry]:
    menu = action.menu()
    if isinstance(menu, QMenu):
        for inner in menu.actions():
            yield from _entries(inner, (*path, spoken(action.text())))
    if not action.objectName():  # a menu, a separator, or a title
        return
    keys = ", ".join(
        key.toString(QKeySequence.SequenceFormat.NativeText)
        for key in action.shortcuts()
    )
    if _is_recent(action):
        path = path[1:]  # a group of its own
    # In submenus the name alone may be unclear, such as "Dark".
    name = ": ".join((*path[1:], spoken(action.text())))
    yield CommandEntry(path[0], name, keys, action)


class CommandsDialog(Dialog):
    """Lists the commands by menu; unavailable ones are disabled."""

    def __init__(self, bar: QMenuBar, parent: QWidget) -> None:
        title = tr("Commands and keyboard shortcuts")
        super().__init__("commands_dialog", title, parent, _SIZE)
        self._filter = described(QLineEdit(clearButtonEnabled=True), "command_filter")
        self._filter.setPlaceholderText(CAPTIONS["command_filter"].tip)
        self._filter.textChanged.connect(self._refilter)
        self._list = ObjectList("command_list", tr("Command"), tr("Keys"))
        self._list.opened.connect(self._on_opened)
        self._entries = entries_of(bar)
        hint = tr("Enter runs the selected command. Alt opens the menus.")
        close = button("commands_close_button", self.accept)
        below = with_button(text_label(hint, quiet=True), close)
        vertical(self, self._filter, (self._list, 1), below, margin=MARGIN)
        self.leave_enter_alone()
        self._refilter("")

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        # The focus stays in the filter; arrows and Enter act on the list.
        if not self._list.take_key(event):
            super().keyPressEvent(event)

    @Slot(str)
    def _refilter(self, typed: str) -> None:
        """Show the commands that contain all typed words; select the first."""
        words = typed.casefold().split()
        found = [entry for entry in self._entries if entry.contains(words)]
        groups: dict[str, QTreeWidgetItem] = {}
        with self._list.refilled():
            for entry in found:
                if entry.menu not in groups:
                    groups[entry.menu] = self._list.add_group(entry.menu)
                cells, group = (entry.name, entry.keys), groups[entry.menu]
                row = self._list.add_row(cells, entry.action, group=group)
                row.setDisabled(not entry.action.isEnabled())
        self._list.clearSelection()
        if usable := [entry.action for entry in found if entry.action.isEnabled()]:
            self._list.select(usable[0])

    @Slot(object)
    def _on_opened(self, action: QAction) -> None:
        if action.isEnabled():
            self.accept()
            action.trigger()


def _is_recent(action: QAction) -> bool:
    return action.objectName().startswith("recent_")
