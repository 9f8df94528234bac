"""The dialog for files of another computer; the fake engine lists local files."""

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QLineEdit, QTreeWidget

from surgeon_gui.controllers.computers import ComputersController
from surgeon_gui.text.problems import Step
from surgeon_gui.views.computers.files_dialog import FilesDialog
from tests.helpers.windows import click, find, open_step, wait_until


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Make a home folder, and two others with a text each."""
    for name in ("home", "first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def open_files(qtbot, window):
    """Return a function that opens the dialog and returns it with its folder."""
    session, settings = window.session, window.settings
    session.store.set(replace(session.state, computer="me@box"))
    controller = ComputersController(session, settings, window)

    def open_dialog(current, *, wants_file=True, clicks=""):
        if clicks:
            opener = find(window, clicks, QObject)
            opener.trigger() if clicks.endswith("_action") else opener.click()
            opened = window.findChildren(FilesDialog)
            (dialog,) = [each for each in opened if each.isVisible()]
        else:
            dialog = FilesDialog(controller, "", wants_file, str(current), window)
            dialog.open()
        path = find(dialog, "files_path_edit", QLineEdit)
        wait_until(qtbot, lambda: path.text().startswith("/"))
        return dialog, Path(path.text())

    yield open_dialog
    controller.finish()
    session.store.set(replace(session.state, computer=""))


def selected(dialog):
    items = find(dialog, "files_list", QTreeWidget).selectedItems()
    return [each.text(0) for each in items]


def test_dialog_starts_at_the_chosen_path_the_last_folder_or_home(open_files, folders):
    missing = folders / "missing" / "text.txt"
    dialog, folder = open_files(missing)
    assert folder == folders / "home"
    assert selected(dialog) == []
    dialog.reject()
    dialog, folder = open_files(folders / "first" / "text.txt")
    assert folder == folders / "first"
    assert selected(dialog) == ["text.txt"]
    chosen = []
    dialog.chosen.connect(chosen.append)
    click(dialog, "files_choose_button")
    assert chosen == [str(folders / "first" / "text.txt")]
    for current in ("demo", missing):
        dialog, folder = open_files(current)
        assert folder == folders / "first"
        dialog.reject()
    dialog, folder = open_files(folders / "second" / "text.txt", wants_file=False)
    assert folder == folders / "second"
    assert selected(dialog) == []  # it is no folder
    dialog.reject()


def test_buttons_start_at_what_their_field_holds(window, open_files, folders):
    window.session.draft.choose_model(str(folders / "first"))
    dialog, folder = open_files("", clicks="open_folder_action")
    assert (folder, selected(dialog)) == (folders, ["first/"])
    dialog.reject()
    config = window.session.state.config.calibration
    text = str(folders / "second" / "text.txt")
    window.session.draft.edit_part(replace(config, text=text))
    open_step(window, Step.CALIBRATION)
    dialog, folder = open_files("", clicks="text_file_button")
    assert (folder, selected(dialog)) == (folders / "second", ["text.txt"])
    dialog.reject()
    window.session.draft.set_runs_folder(str(folders / "runs"))
    open_step(window, Step.RUN)
    dialog, folder = open_files("", clicks="run_parent_button")
    assert folder == folders
    dialog.reject()
