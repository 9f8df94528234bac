"""The queue above the list of runs, and the dialog of a sweep."""

from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QCheckBox, QComboBox, QLabel, QLineEdit, QTreeWidget

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import Target
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.text import SEPARATOR
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.views.queue.sweep_dialog import SweepDialog
from tests.helpers.widget_queries import shown
from tests.helpers.window_audit import problems, settle
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    find,
    find_type,
    load_and_wait,
    run_of,
    wait_for_status,
    wait_until,
)

pytestmark = pytest.mark.slow

SLOW = ("--pause", "0.02")


def queue_of(window):
    return find_type(window, QueueController)


def table_of(window):
    return find(window, "queue_table", QTreeWidget)


def rows(window):
    table = table_of(window)
    items = [table.topLevelItem(row) for row in range(table.topLevelItemCount())]
    return [
        [item.text(column).replace("\xa0", " ") for column in range(2)]
        for item in items
    ]


def targets(window):
    return [row[0].split(SEPARATOR)[1].partition(" fewer ")[0] for row in rows(window)]


def add(window, *shares):
    for share in shares:
        window.session.draft.edit_part(replace(QUICK.pruning, sparsity=share))
        click(window, "queue_add_button")


def select(window, row):
    table = table_of(window)
    table.setCurrentItem(table.topLevelItem(row))


def open_sweep(window):
    find(window, "sweep_action", QAction).trigger()
    (dialog,) = [x for x in window.findChildren(SweepDialog) if x.isVisible()]
    return dialog


@pytest.fixture
def filled(qtbot, window):
    """Return a window with three waiting runs."""
    load_and_wait(qtbot, window)
    add(window, 0.1, 0.2, 0.3)
    return window


def test_added_runs_are_shown_with_target_and_estimate(filled):
    assert filled.runs.home.isVisible()
    assert (
        rows(filled)[0][0] == "Bundled demo · 10 % fewer prunable weights, LLM Surgeon"
    )
    assert all(row[1].startswith("about ") for row in rows(filled))
    assert find(filled, "queue_summary").text().startswith("3 ")
    assert targets(filled) == ["10 %", "20 %", "30 %"]
    filled.resize(920, 500)
    settle()
    table = table_of(filled)
    assert table.visualItemRect(table.topLevelItem(2)).bottom() < table.height()
    assert table.height() - table.header().height() < 4 * table.sizeHintForRow(0)
    assert problems(filled.runs.queue.panel) == []


def test_empty_queue_says_how_to_fill_it(window):
    window.runs.show_home()
    assert not table_of(window).isVisible()
    assert find(window, "queue_summary").text()
    assert not find(window, "queue_start_button").isEnabled()
    assert not find(window, "queue_add_button").isEnabled()
    assert find(window, "queue_add_button").toolTip()


def test_keys_move_and_remove_the_selected_run(qtbot, filled):
    table = table_of(filled)
    select(filled, 2)
    keys, alt = Qt.Key, Qt.KeyboardModifier.AltModifier
    table.setFocus()
    qtbot.waitUntil(table.hasFocus, timeout=TIMEOUT_MS)
    qtbot.keyClick(table, keys.Key_Up, alt)
    assert targets(filled) == ["10 %", "30 %", "20 %"]
    qtbot.keyClick(table, keys.Key_Up, alt)
    assert targets(filled) == ["30 %", "10 %", "20 %"]
    qtbot.keyClick(table, keys.Key_Down, alt)
    assert targets(filled) == ["10 %", "30 %", "20 %"]
    qtbot.keyClick(table, keys.Key_Delete)
    assert targets(filled) == ["10 %", "20 %"]
    qtbot.keyClick(table, keys.Key_Delete)
    assert targets(filled) == ["10 %"]
    qtbot.keyClick(table, keys.Key_Delete, Qt.KeyboardModifier.ShiftModifier)
    assert targets(filled) == []


def test_actions_are_enabled_where_they_do_something(filled):
    names = ("up", "down", "retry", "remove", "clear")

    def enabled():
        return [
            name
            for name in names
            if find(filled, f"queue_{name}_action", QAction).isEnabled()
        ]

    assert enabled() == ["clear"]
    select(filled, 0)
    assert enabled() == ["down", "remove", "clear"]
    select(filled, 2)
    assert enabled() == ["up", "remove", "clear"]


def test_run_in_progress_cannot_be_removed(qtbot, make_window):
    window = make_window(*SLOW)
    load_and_wait(qtbot, window)
    add(window, 0.1, 0.2)
    find(window, "queue_start_action", QAction).trigger()
    wait_for_status(qtbot, window, Status.RUNNING)
    assert rows(window)[0][1] == "Running"
    assert shown(window, "run_name").startswith("1 of 2 ")
    assert find(window, "queue_start_button").isEnabled()
    select(window, 0)
    assert not find(window, "queue_remove_action", QAction).isEnabled()
    find(window, "queue_clear_action", QAction).trigger()
    assert targets(window) == ["10 %"]
    assert not find(window, "queue_start_button").isEnabled()  # nothing to stop
    assert find(window, "queue_start_button").toolTip()
    during = find(window, "queue_summary").text()
    wait_for_status(qtbot, window, Status.FINISHED)
    wait_until(qtbot, lambda: not queue_of(window).state.is_working)
    assert find(window, "queue_summary").text() != during


def test_sweep_adds_a_run_for_each_target_and_method(qtbot, window):
    load_and_wait(qtbot, window)
    qtbot.keyClick(open_sweep(window), Qt.Key.Key_Escape)
    assert rows(window) == []
    dialog = open_sweep(window)
    settle()
    assert any("Bundled demo" in x.text() for x in dialog.findChildren(QLabel))
    assert find(dialog, "sweep_values_edit", QLineEdit).text() == "10, 20, 30, 40"
    assert find(dialog, "sweep_llm_surgeon_check", QCheckBox).isChecked()
    assert find(dialog, "sweep_summary").text().startswith("4 ")
    assert len(find(dialog, "sweep_forecast").text().splitlines()) >= 4
    assert problems(dialog) == []
    find(dialog, "sweep_magnitude_check", QCheckBox).click()
    assert find(dialog, "sweep_summary").text().startswith("8 ")
    click(dialog, "sweep_add_button")
    assert len(rows(window)) == 8
    assert run_of(window).status is Status.IDLE
    assert window.runs.home.isVisible()


def test_sweep_takes_sizes_in_the_unit_of_the_draft(qtbot, window, monkeypatch):
    text = replace(FIELDS["pruning.megabytes"], unit="MiB", unit_bytes=2**20)
    monkeypatch.setitem(FIELDS, "pruning.megabytes", text)
    pruning = replace(QUICK.pruning, target=Target.FILE_SIZE, megabytes=9.0)
    load_and_wait(qtbot, window, replace(QUICK, pruning=pruning))
    dialog = open_sweep(window)
    units = find(dialog, "sweep_unit_combo", QComboBox)
    assert units.currentText() == "File (MiB)"
    words = find(window, "size_unit_combo", QComboBox)
    rows = range(words.count())
    assert [units.itemText(x).rpartition(" (")[0] for x in rows] == [
        words.itemText(x) for x in rows
    ]
    click(dialog, "sweep_add_button")
    sizes = [run.config.pruning.target for run in queue_of(window).state.runs]
    assert len(sizes) == 4 and set(sizes) == {Target.FILE_SIZE}


def test_buttons_of_a_sweep_keep_their_places(qtbot, window):
    load_and_wait(qtbot, window)
    dialog = open_sweep(window)
    edit, add_button = (
        find(dialog, f"sweep_{x}") for x in ("values_edit", "add_button")
    )
    settle()
    before = (dialog.height(), add_button.y())
    for typed in ("banana " * 60, "10", "10, 20, 30, 40, 50, 60, 70, 80, 90", "0"):
        edit.clear()
        qtbot.keyClicks(edit, typed)
        qtbot.keyClick(edit, Qt.Key.Key_Space)
        wait_until(qtbot, lambda: not dialog._timer.isActive())
        settle()
        assert (dialog.height(), add_button.y()) == before, typed


def test_problem_of_a_sweep_disables_add(qtbot, window):
    load_and_wait(qtbot, window)
    dialog = open_sweep(window)
    edit, add_button = (
        find(dialog, "sweep_values_edit"),
        find(dialog, "sweep_add_button"),
    )
    edit.selectAll()
    qtbot.keyClicks(edit, "20 x")
    assert not add_button.isEnabled()  # before the check, too
    problem = find(dialog, "sweep_problem")
    qtbot.waitUntil(problem.isVisible, timeout=TIMEOUT_MS)
    assert "“x”" in problem.text()
    assert not add_button.isEnabled()
    edit.selectAll()
    qtbot.keyClicks(edit, "20")
    qtbot.waitUntil(add_button.isEnabled, timeout=TIMEOUT_MS)
    assert not problem.isVisible()
    qtbot.keyClick(edit, Qt.Key.Key_Return)
    assert targets(window) == ["20 %"]


def test_obstacle_of_the_draft_disables_adding(qtbot, window, tmp_path):
    load_and_wait(qtbot, window)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    window.session.draft.edit_part(ExportConfig(str(tmp_path / "out")))
    for name in ("queue_add_button", "queue_sweep_button"):
        assert not find(window, name).isEnabled()
        assert "not empty" in find(window, name).toolTip()
    assert not find(window, "queue_add_action", QAction).isEnabled()
    assert not find(window, "sweep_action", QAction).isEnabled()
