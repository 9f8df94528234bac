"""Questions for files and folders; none of them blocks the window.

Each takes the slot that is called with the path, and does nothing if none is chosen.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QWidget

from surgeon_gui.base.translation import tr

MODEL_FILES = tr("Models (*.gguf)")
TEXT_FILES = tr("Texts and tokens (*.txt *.jsonl *.csv *.parquet *.npy)")
JOB_FILES = tr("Jobs (*.toml)")

_Chosen = Callable[[str], None]


def ask_folder(parent: QWidget, title: str, start: str, chosen: _Chosen) -> None:
    """Ask for a folder."""
    dialog = QFileDialog(parent, title, start)
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    _open(dialog, chosen)


def ask_file(
    parent: QWidget, title: str, start: str, kinds: str, chosen: _Chosen
) -> None:
    """Ask for a file that exists."""
    dialog = QFileDialog(parent, title, start, kinds)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    _open(dialog, chosen)


def ask_new_file(parent: QWidget, title: str, name: str, chosen: _Chosen) -> None:
    """Ask where a file is to be written; `name` is the proposal."""
    dialog = QFileDialog(parent, title, name)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setDefaultSuffix(name.rpartition(".")[2])
    _open(dialog, chosen)


def _open(dialog: QFileDialog, chosen: _Chosen) -> None:
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.fileSelected.connect(chosen)
    dialog.open()
