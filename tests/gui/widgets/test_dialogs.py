"""File dialogs show the files of their kind."""

import pytest
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QMessageBox,
    QTreeView,
    QWidget,
)

from surgeon_gui.widgets import dialogs
from surgeon_gui.widgets.dialogs import ask_file, ask_new_file, open_folder


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


def test_columns_of_a_dialog_for_files_are_not_cut(parent, qtbot, tmp_path):
    (tmp_path / "model.gguf").write_bytes(bytes(123_456))
    ask_file(parent, "Model", str(tmp_path), "Models (*.gguf)", lambda path: None)
    files = dialog_of(parent).findChild(QTreeView)
    qtbot.wait_until(lambda: files.model().rowCount(files.rootIndex()) == 1)
    shown = range(files.model().columnCount())
    assert all(files.columnWidth(x) >= files.sizeHintForColumn(x) for x in shown)
    assert sum(map(files.columnWidth, shown)) <= files.viewport().width()
    dialog_of(parent).close()


@pytest.mark.parametrize("has_manager", [True, False])
def test_nearest_folder_is_opened_or_its_path_is_shown(
    qtbot, tmp_path, monkeypatch, has_manager
):
    opened = []

    def open_url(url):
        opened.append(url.toLocalFile())
        return has_manager

    monkeypatch.setattr(dialogs.QDesktopServices, "openUrl", open_url)
    open_folder(str(tmp_path / "export"))  # it was deleted
    assert opened == [str(tmp_path)]
    boxes = [x for x in QApplication.topLevelWidgets() if isinstance(x, QMessageBox)]
    texts = [box.text() for box in boxes if box.isVisible()]
    assert texts == [f"No program on this computer opens {tmp_path}."][has_manager:]
    for box in boxes:
        box.close()
