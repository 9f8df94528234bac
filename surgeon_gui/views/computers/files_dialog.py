"""The dialog that chooses a file or folder of another computer by its path.

It starts where the path that is chosen now is, or else in the folder of the last choice
on that computer, or in the home folder.
"""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QLineEdit, QWidget

from surgeon_engine.api.messages.files import FileEntry, FileKind, FilesListed
from surgeon_gui.base.theme import MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.computers import ComputersController
from surgeon_gui.state import computers as text
from surgeon_gui.state.request import RequestKind
from surgeon_gui.widgets.controls import button, described, enable_unless, text_label
from surgeon_gui.widgets.dialogs import Dialog
from surgeon_gui.widgets.layouts import answer_row, vertical, with_button
from surgeon_gui.widgets.object_list import ObjectList

_SIZE = (560, 480)


class FilesDialog(Dialog):
    """Lists one folder at a time; a double click opens a folder or chooses a file."""

    chosen = Signal(str)

    def __init__(
        self,
        computers: ComputersController,
        title: str,
        wants_file: bool,
        current: str,
        parent: QWidget,
    ) -> None:
        super().__init__("files_dialog", title, parent, _SIZE)
        self._computers, self._wants_file = computers, wants_file
        self._listed: FilesListed | None = None
        self._starts = text.start_folders(current, computers.last_folder)
        self._chosen_path = current  # is selected where it is listed
        self._path = described(QLineEdit(), "files_path_edit")
        self._path.returnPressed.connect(self._on_path_entered)
        self._up = button("files_up_button", self._on_up_clicked)
        self._tree = ObjectList("files_list", tr("Name"), tr("Size"), numbers=(1,))
        self._tree.itemSelectionChanged.connect(self._show_choose)
        self._tree.opened.connect(self._on_opened)
        self._note = text_label(quiet=True, name="files_note")
        name = "files_choose_button"
        self._choose = button(name, self._on_choose_clicked, primary=True)
        cancel = button("files_cancel_button", self.reject)
        top, below = with_button(self._path, self._up), answer_row(cancel, self._choose)
        vertical(self, top, (self._tree, 1), self._note, below, margin=MARGIN)
        self.leave_enter_alone()
        computers.session.changed.connect(self._show)
        self._start()
        self._show()

    def _start(self) -> None:
        """List the next of the folders in which the dialog may start."""
        self._computers.list_files(self._starts.pop(0))

    @Slot()
    def _show(self) -> None:
        state = self._computers.session.state
        request = state.request(RequestKind.FILES)
        if request.error is not None and self._starts:
            self._start()
            return
        if request.error is not None:
            self._note.setText(f"{request.error.message} {request.error.hint}".strip())
        elif request.is_open:
            self._note.setText(text.connection_wait(state) or tr("Reading…"))
        listed: FilesListed | None = request.response
        if listed is None or listed is self._listed:
            self._show_choose()
            return
        self._listed, self._starts = listed, []
        self._path.setText(listed.folder)
        self._tree.clear()
        for entry in listed.entries:
            self._tree.add_row(text.file_row(entry), entry)
            is_current = text.path_of(listed.folder, entry.name) == self._chosen_path
            if is_current and (self._wants_file or entry.kind is not FileKind.FILE):
                self._tree.select(entry)
        self._note.setText(_note(listed))
        self._show_choose()

    @Slot()
    def _show_choose(self) -> None:
        enable_unless(self._choose, self._obstacle())
        enable_unless(
            self._up,
            "" if self._listed and self._listed.parent else tr("This is the top."),
        )

    def _obstacle(self) -> str:
        """Return why the selected entry cannot be chosen; empty if it can."""
        if self._listed is None:
            return tr("The folder is being read.")
        entry: FileEntry | None = self._tree.current
        if self._wants_file and (entry is None or entry.kind is FileKind.FOLDER):
            return tr("Select a file.")
        if not self._wants_file and entry is not None and entry.kind is FileKind.FILE:
            return tr("Select a folder.")
        return ""

    @Slot()
    def _on_path_entered(self) -> None:
        self._starts = []
        self._computers.list_files(self._path.text().strip() or text.HOME)

    @Slot()
    def _on_up_clicked(self) -> None:
        if self._listed is not None:
            self._computers.list_files(self._listed.parent)

    @Slot(object)
    def _on_opened(self, entry: FileEntry) -> None:
        assert self._listed is not None
        if entry.kind is FileKind.FOLDER:
            path = text.path_of(self._listed.folder, entry.name)
            self._computers.list_files(path)
        elif not self._obstacle():
            self._on_choose_clicked()

    @Slot()
    def _on_choose_clicked(self) -> None:
        if self._listed is None or self._obstacle():
            return
        entry, path = self._tree.current, self._listed.folder
        if entry is not None:
            path = text.path_of(path, entry.name)
        self._computers.remember_folder(self._listed.folder)
        self.chosen.emit(path)
        self.accept()


def _note(listed: FilesListed) -> str:
    """Return what the list itself does not show; empty if it shows all."""
    if listed.omitted:
        return tr("{n} more entries are not shown.").format(n=listed.omitted)
    return "" if listed.entries else tr("There is nothing to choose in this folder.")
