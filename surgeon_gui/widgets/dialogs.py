"""The base of dialogs, and dialogs for files and folders; none blocks the window.

Those call a slot with the chosen path, unless the user cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, QUrl, SignalInstance
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QFileDialog,
    QHeaderView,
    QMessageBox,
    QPushButton,
    QTreeView,
    QWidget,
)

from surgeon_engine.base.files import nearest_existing
from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.controls import message_box

MODEL_FILES = tr("Models (*.gguf)")
TEXT_FILES = tr("Texts and tokens (*.txt *.jsonl *.csv *.parquet *.npy)")
FURTHER_TEXT_FILES = tr("Texts (*.txt *.jsonl *.csv *.parquet)")
JOB_FILES = tr("Jobs (*.toml)")
PROMPT_FILES = tr("Prompts (*.txt *.jsonl)")
# By the ending of a file to save.
_NEW_FILES = {
    "png": tr("Pictures (*.png)"),
    "svg": tr("Drawings (*.svg)"),
    "csv": tr("Tables (*.csv)"),
    "toml": JOB_FILES,
    "html": tr("Web pages (*.html)"),
    "pdf": tr("PDF documents (*.pdf)"),
    "log": tr("Logs (*.log)"),
    "zip": tr("Archives (*.zip)"),
}

_FILES_SIZE = (860, 560)
_OnChosen = Callable[[str], object]

# Asks for a file or folder of another computer: its parent, the title, whether a file
# is asked for, the path that is chosen now, and the slot.
_AskElsewhere = Callable[[QWidget, str, bool, str, _OnChosen], None]
_elsewhere: list[_AskElsewhere] = []


class Dialog(QDialog):
    """A dialog that is deleted when it is closed."""

    def __init__(
        self, name: str, title: str, parent: QWidget, size: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        if any(size):
            self.resize(*size)

    def leave_enter_alone(self) -> None:
        """Let Enter press no button that has not been made the default."""
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(False)


def ask_elsewhere(ask: _AskElsewhere | None) -> None:
    """Set how files of the engine are asked for while it is on another computer."""
    _elsewhere[:] = [] if ask is None else [ask]


def ask_folder(
    parent: QWidget,
    title: str,
    start: str,
    on_chosen: _OnChosen,
    *,
    engine_path: str | None = None,
) -> None:
    """Ask for a folder.

    Args:
        parent: The widget that asks.
        title: The title of the dialog.
        start: The folder in which the dialog starts on this computer.
        on_chosen: Called with the path.
        engine_path: The path that is chosen now, of a folder on the engine's computer;
            None: the folder is on this computer.
    """
    if engine_path is not None and _elsewhere:
        _elsewhere[0](parent, title, False, engine_path, on_chosen)
        return
    dialog = QFileDialog(parent, title, start)
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    _open(dialog, dialog.fileSelected, on_chosen)


def ask_file(
    parent: QWidget,
    title: str,
    start: str,
    kinds: str,
    on_chosen: _OnChosen,
    *,
    engine_path: str | None = None,
) -> None:
    """Ask for an existing file of some kinds; the rest is as for `ask_folder`."""
    if engine_path is not None and _elsewhere:
        _elsewhere[0](parent, title, True, engine_path, on_chosen)
        return
    dialog = QFileDialog(parent, title, start, kinds)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    _open(dialog, dialog.fileSelected, on_chosen)


def ask_files(
    parent: QWidget,
    title: str,
    kinds: str,
    on_chosen: Callable[[list[str]], None],
    on_cancelled: Callable[[], None],
    *,
    engine_path: str,
) -> None:
    """Ask for one or more existing files; on another computer, for one."""
    if _elsewhere:
        _elsewhere[0](parent, title, True, engine_path, lambda path: on_chosen([path]))
        return
    dialog = QFileDialog(parent, title, "", kinds)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
    dialog.rejected.connect(on_cancelled)
    _open(dialog, dialog.filesSelected, on_chosen)


def ask_new_file(parent: QWidget, title: str, name: str, on_chosen: _OnChosen) -> None:
    """Ask where to save a file; `name` is the suggestion."""
    ending = name.rpartition(".")[2]
    dialog = QFileDialog(parent, title, name)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    if kinds := _NEW_FILES.get(ending):
        dialog.setNameFilter(kinds)
    dialog.setDefaultSuffix(ending)
    _open(dialog, dialog.fileSelected, on_chosen)


def _open(
    dialog: QFileDialog, chosen: SignalInstance, on_chosen: Callable[..., object]
) -> None:
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    chosen.connect(on_chosen)
    dialog.open()
    # Qt's own dialog, where the desktop has none, cuts columns off at their titles.
    if (files := dialog.findChild(QTreeView)) is not None:
        dialog.resize(*_FILES_SIZE)
        files.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        files.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)


def open_folder(folder: str) -> None:
    """Open a folder in the desktop's file manager, or the nearest that exists.

    Without a file manager, a message has its path.
    """
    there = nearest_existing(Path(folder))  # an export may be deleted or not copied
    if QDesktopServices.openUrl(QUrl.fromLocalFile(str(there))):
        return
    parent = QApplication.activeWindow()
    box = message_box(parent, QMessageBox.Icon.Information, "no_file_manager")
    box.finished.connect(lambda: box.deleteLater())  # keeps it without a parent
    box.setText(tr("No program on this computer opens {path}.").format(path=there))
    box.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    box.open()
