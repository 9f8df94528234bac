"""The dialog Disk space: sizes, and deleting from the caches after a question."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDialog, QLabel, QMessageBox, QPushButton, QTreeWidget

from surgeon_engine.base.files import measurements_folder
from surgeon_gui.state.run import Status
from tests.helpers import window_audit
from tests.helpers.fake_runs import write_three
from tests.helpers.windows import LONG, click, find, run_until, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Return the folder of a model in the cache of the Hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    folder = tmp_path / "hub" / "models--org--name"
    folder.mkdir(parents=True)
    (folder / "blob").write_bytes(bytes(5_000))
    return folder


def open_dialog(qtbot, window):
    find(window, "disk_space_action", QAction).trigger()
    dialog = find(window, "disk_space_dialog", QDialog)
    wait_until(
        qtbot,
        lambda: find(dialog, "disk_space_total", QLabel).text().startswith("Together"),
    )
    return dialog


def rows(dialog):
    tree = find(dialog, "disk_space_tree", QTreeWidget)
    groups = [tree.topLevelItem(n) for n in range(tree.topLevelItemCount())]
    return {
        group.text(0): [group.child(n) for n in range(group.childCount())]
        for group in groups
    }


def select(dialog, title):
    row = rows(dialog)[title][0]
    find(dialog, "disk_space_tree", QTreeWidget).setCurrentItem(row)
    return row


HUB = "Models of the Hugging Face Hub"


def test_runs_and_caches_have_their_sizes(qtbot, make_window, tmp_path, model):
    write_three(tmp_path / "runs")
    measurements_folder().mkdir(parents=True)
    (measurements_folder() / "gates").write_bytes(bytes(3_000))
    window = make_window()
    dialog = open_dialog(qtbot, window)
    wait_until(qtbot, lambda: len(rows(dialog)["Runs"]) == 3)
    assert len({row.text(0) for row in rows(dialog)["Runs"]}) == 3
    assert [row.text(0) for row in rows(dialog)[HUB]] == ["org/name"]
    assert rows(dialog)[HUB][0].text(1) == "5.0\xa0kB"
    assert window_audit.problems(dialog) == []
    assert window_audit.out_of_order(dialog) == []
    select(dialog, "Runs")
    delete = find(dialog, "disk_space_delete_button", QPushButton)
    assert not delete.isEnabled()
    assert delete.toolTip()
    total = find(dialog, "disk_space_total", QLabel)
    assert "Runs are deleted in the list of runs." in total.text()
    tree, whole = find(dialog, "disk_space_tree", QTreeWidget), "Measurements of the"
    (group,) = tree.findItems(whole, Qt.MatchFlag.MatchStartsWith)
    assert group.childCount() == 0  # they are one row
    tree.setCurrentItem(group)
    assert delete.isEnabled()
    assert total.text().endswith("kB.")
    select(dialog, HUB)
    for group in (HUB, "Runs"):
        tree.findItems(group, Qt.MatchFlag.MatchExactly)[0].setExpanded(False)
    window.runs.runs.changed.emit()  # as at each percent of a run
    assert delete.isEnabled()
    for group in (HUB, "Runs"):
        assert not tree.findItems(group, Qt.MatchFlag.MatchExactly)[0].isExpanded()
    dialog.close()


def test_model_is_deleted_only_after_its_name_and_size_are_confirmed(
    qtbot, window, model
):
    dialog = open_dialog(qtbot, window)
    select(dialog, HUB)
    click(dialog, "disk_space_delete_button")
    box = find(dialog, "disk_space_question", QMessageBox)
    assert "org/name (5.0\xa0kB)" in box.text()
    assert box.defaultButton() is find(box, "disk_space_no_button", QPushButton)
    click(box, "disk_space_no_button")
    assert model.exists()
    click(dialog, "disk_space_delete_button")
    click(box, "disk_space_yes_button")
    wait_until(qtbot, lambda: HUB not in rows(dialog))
    assert not model.exists()
    dialog.close()


def test_model_of_a_live_run_cannot_be_deleted(qtbot, make_window, model):
    window = make_window("--pause", "0.01")
    run_until(qtbot, window, Status.RUNNING, LONG)
    # In the draft, while the run goes on.
    window.session.draft.choose_model("hf://org/name")
    dialog = open_dialog(qtbot, window)
    select(dialog, HUB)
    delete = find(dialog, "disk_space_delete_button", QPushButton)
    assert not delete.isEnabled()
    assert delete.toolTip()
    dialog.close()
