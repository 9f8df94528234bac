"""File dialogs show the files of their kind."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QFileDialog, QWidget

from surgeon_gui.widgets import dialogs
from surgeon_gui.widgets.dialogs import ask_new_file, open_folder


@pytest.fixture
def parent(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    return parent


def dialog_of(parent):
    (dialog,) = parent.findChildren(QFileDialog)
    return dialog


@pytest.mark.parametrize("ending", dialogs._NEW_FILES)
def test_dialog_for_a_new_file_shows_files_with_its_ending(parent, ending):
    ask_new_file(parent, "Save", f"name.{ending}", lambda path: None)
    dialog = dialog_of(parent)
    (kinds,) = dialog.nameFilters()
    assert f"(*.{ending})" in kinds
    assert dialog.defaultSuffix() == ending
    dialog.close()


def test_dialog_for_an_unusual_ending_shows_all_files(parent):
    ask_new_file(parent, "Save", "name.job", lambda path: None)
    dialog = dialog_of(parent)
    assert "(*)" in dialog.nameFilters()[0]
    dialog.close()


def test_nearest_folder_is_opened_if_an_export_was_deleted(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(dialogs.QDesktopServices, "openUrl", opened.append)
    open_folder(str(tmp_path / "export"))
    assert [url.toLocalFile() for url in opened] == [str(tmp_path)]
