"""The Target page in use: tiles, user presets, plan, undo and redo."""

from dataclasses import replace

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QApplication, QComboBox, QFileDialog, QLineEdit
from pytestqt.qtbot import QtBot

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.presets import preset_of, preset_to_toml, presets
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.planning.forecast import longer_training
from surgeon_engine.planning.needs import ResourceStatus
from surgeon_gui.controllers.preset_store import PresetStore
from surgeon_gui.state.job.own_presets import presets_folder, read_presets
from surgeon_gui.text.problems import Step
from surgeon_gui.widgets.dot import Shape
from tests.helpers.fake_results import UNSUPPORTED
from tests.helpers.widget_queries import preset_shown, size_shown, type_size
from tests.helpers.windows import (
    QUICK,
    click,
    find,
    load_and_wait,
    open_step,
    pruning_of,
    wait_until,
)

LARGE = replace(
    QUICK,
    calibration=CalibrationConfig(
        windows=512, validation_windows=8, window_length=512, batch=64
    ),
)


pytestmark = pytest.mark.slow


def on_target_page(qtbot, window, config=QUICK):
    window.session.draft.load(config)
    wait_until(qtbot, lambda: window.session.state.resource_check is not None)
    open_step(window, Step.TARGET)
    return window


# structures as pictures


def test_arrow_keys_select_structures_and_skip_disabled_ones(qtbot: QtBot, page):
    find(page, "structure_heads_tile").click()
    find(page, "structure_heads_tile").setFocus()
    selected = []
    for _ in range(len(Structure)):
        focused = find(page, f"structure_{pruning_of(page).structure.value}_tile")
        qtbot.keyClick(focused, Qt.Key.Key_Right)
        selected.append(pruning_of(page).structure)
    assert len(set(selected)) > 1
    assert not set(selected) & set(UNSUPPORTED)


# protections


def test_layers_are_protected_by_checking_them(page):
    click(page, "protect_choose_button")
    tree = find(page, "protect_tree")
    kinds, blocks = tree.topLevelItem(0), tree.topLevelItem(1)
    blocks.child(2).setCheckState(0, Qt.CheckState.Checked)
    assert pruning_of(page).protect == ("block 2",)
    assert find(page, "pruning_protect").text() == "block 2"
    assert kinds.child(0).checkState(0) is Qt.CheckState.PartiallyChecked
    find(page, "pruning_protect").setText("*.down_proj")
    find(page, "pruning_protect").editingFinished.emit()
    assert kinds.child(6).checkState(0) is Qt.CheckState.Checked
    kinds.child(6).setCheckState(0, Qt.CheckState.Unchecked)
    assert pruning_of(page).protect == ()


# user presets


def save_preset(window, title):
    if find(window, "preset_save_button").isVisible():
        click(window, "preset_save_button")
    find(window, "preset_name_edit", QLineEdit).setText(title)
    click(window, "preset_keep_button")


def test_custom_settings_are_saved_as_a_preset_with_a_unique_name(page):
    find(page, "pruning_shots").setValue(17)
    for title in ("", "  ", presets()[0].title.upper()):
        save_preset(page, title)
        assert find(page, "preset_problem").text()
        assert read_presets(presets_folder()) == ([], [])
    find(page, "preset_name_edit", QLineEdit).setText("  For my   laptop ")
    click(page, "preset_keep_button")
    assert preset_shown(page) == "For my laptop"
    (saved,), problems = read_presets(presets_folder())
    assert problems == []
    assert saved.pruning == pruning_of(page)
    assert saved.is_in(page.session.state.config)
    find(page, "pruning_shots").setValue(3)
    assert preset_shown(page) != "For my laptop"
    page.session.draft.choose_preset(saved)
    assert pruning_of(page).shots == 17


def test_preset_is_shared_deleted_restored_and_added(page, tmp_path):
    find(page, "pruning_shots").setValue(17)
    save_preset(page, "Mine")
    file = tmp_path / "mine.toml"
    find(page, "preset_export_action", object).trigger()
    dialog = page.findChild(QFileDialog)
    dialog.fileSelected.emit(str(file))
    dialog.reject()
    find(page, "preset_delete_action", object).trigger()
    assert read_presets(presets_folder()) == ([], [])
    assert pruning_of(page).shots == 17
    click(page, "preset_restore_button")
    assert preset_shown(page) == "Mine"
    find(page, "preset_delete_action", object).trigger()
    find(page, "pruning_shots").setValue(2)
    page.findChild(PresetStore).add_from_file(str(file))
    assert preset_shown(page) == "Mine"
    assert pruning_of(page).shots == 17
    built_in = find(page, "preset_combo", QComboBox)
    built_in.setCurrentIndex(1)
    built_in.activated.emit(1)
    assert not find(page, "preset_delete_action", object).isEnabled()


def test_user_presets_are_loaded_and_broken_ones_kept(qtbot, make_window, tmp_path):
    presets_folder().mkdir(parents=True)
    preset = preset_of("mine", "Mine", "All mine.", QUICK)
    broken = presets_folder() / "other.toml"
    (presets_folder() / "mine.toml").write_text(preset_to_toml(preset))
    broken.write_text("title =")
    window = make_window()
    load_and_wait(qtbot, window)
    assert preset_shown(window) == "Mine"
    assert "other" in window.session.state.notice.message
    store = window.findChild(PresetStore)
    find(window, "pruning_shots").setValue(17)
    store.save("Other")
    assert broken.read_text() == "title ="
    assert len(read_presets(presets_folder())[0]) == 2
    window.session.dismiss_problem()
    (tmp_path / "broken.toml").write_text("title = 3")
    store.add_from_file(str(tmp_path / "broken.toml"))
    assert window.session.state.notice is not None
    assert len(window.session.state.own_presets) == 2


# the plan


def test_plan_shows_resources_lights_and_recovery(page):
    assert "2.83" in find(page, "plan_sizes").text()
    assert "of 16.0" in find(page, "plan_memory").text()
    assert find(page, "plan_time").text()
    assert not find(page, "plan_time_light").isVisible()  # any time fits
    for name in ("plan_memory_light", "plan_disk_light"):
        assert find(page, name).shape is Shape.TICK
    assert not find(page, "fit_button").isVisible()
    before = find(page, "plan_memory").text()
    find(page, "calibration_batch").setValue(512)
    find(page, "calibration_windows").setValue(512)
    assert find(page, "plan_memory").text() != before
    label, session = find(page, "plan_recovery"), page.session
    recovery = RecoveryConfig(Recovery.AUTOMATIC, general_windows=8)
    session.draft.edit_part(recovery)
    complete = label.text()
    assert label.isVisible()
    seconds = session.state.resource_check.estimate.training_seconds
    assert longer_training(seconds) in complete
    session.draft.edit_part(replace(recovery, epochs=2.0))
    assert session.state.resource_check.estimate.training_seconds > 1.5 * seconds
    session.draft.edit_part(replace(recovery, minutes=1e-3))
    assert label.text() != complete
    session.draft.edit_part(replace(recovery, level=Recovery.REFIT))
    assert not label.isVisible()


def test_run_that_does_not_fit_cannot_start_until_adjusted(qtbot, make_window):
    window = make_window("--free-memory", "1500000000")
    on_target_page(qtbot, window, LARGE)
    assert find(window, "plan_memory_light").shape is Shape.CROSS
    assert not find(window, "start_button").isEnabled()
    click(window, "fit_button")
    wait_until(qtbot, lambda: window.session.state.resource_check is not None)
    assert window.session.state.resource_check.room is ResourceStatus.GREEN
    assert find(window, "start_button").isEnabled()
    assert "64" in find(window, "fit_note").text()
    undo(window)
    assert window.session.state.config == LARGE
    assert find(window, "fit_note").text() == ""


@pytest.mark.parametrize(
    ("free", "shape"),
    [("1100000000", Shape.WARNING), ("1000000", Shape.CROSS)],
)
def test_tight_run_can_start_but_not_one_that_no_settings_fit(
    qtbot, make_window, free, shape
):
    window = on_target_page(qtbot, make_window("--free-memory", free))
    assert find(window, "plan_memory_light").shape is shape
    can_start = shape is Shape.WARNING
    assert find(window, "start_button").isEnabled() is can_start
    if not can_start:
        click(window, "fit_button")
        assert find(window, "fit_note").text()
        assert window.session.state.config == QUICK


# undo and redo


def undo(window):
    action = find(window, "undo_action", QAction)
    assert action.isEnabled()
    action.trigger()


def test_undo_restores_presets_and_sizes(qtbot, window):
    load_and_wait(qtbot, window)
    page = on_target_page(qtbot, window)
    session = page.session
    configs = [session.state.config]
    session.draft.choose_preset(presets()[2])
    configs.append(session.state.config)
    type_size(page, "9.5 MB")
    configs.append(session.state.config)
    find(page, "structure_neurons_tile").click()
    configs.append(session.state.config)
    for config in reversed(configs[:-1]):
        undo(page)
        assert session.state.config == config
    assert size_shown(page) == "30 %"
    find(page, "redo_action", QAction).trigger()
    assert preset_shown(page) == presets()[2].title
    session.draft.choose_preset(None)  # the settings from before the preset
    assert session.state.config == configs[0]
    find(page, "pruning_shots").setValue(7)
    assert find(page, "undo_action", QAction).text().endswith(": Shots")
    find(page, "structure_n_m_tile").click()
    before = session.state.config
    type_size(page, "70 %")  # 2:4 removes at most half
    assert find(page, "pruning_sparsity_problem").text()
    undo(page)  # discards the refused input
    assert find(page, "pruning_sparsity_problem").text() == ""
    assert session.state.config == before


def test_unmodified_input_leaves_undo_keys_to_the_menu(window):
    box = find(window, "pruning_protect")
    # Emitted by hand: offscreen windows get no focus.
    QApplication.instance().focusChanged.emit(None, box)

    def takes_key(keys):
        key = QKeySequence(keys)[0]
        kind = QEvent.Type.ShortcutOverride
        event = QKeyEvent(kind, key.key(), key.keyboardModifiers())
        event.ignore()
        QApplication.sendEvent(box, event)
        return event.isAccepted()

    for keys in ("Ctrl+Z", "Ctrl+Shift+Z"):
        box.setModified(False)
        assert not takes_key(keys)
        box.setModified(True)
        assert takes_key(keys)
