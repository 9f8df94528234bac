"""The Target page in use: linked sizes, tiles, user presets, plan, undo and redo."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QApplication, QComboBox, QFileDialog, QLineEdit
from pytestqt.qtbot import QtBot

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.fields import values_of
from surgeon_engine.api.config.presets import preset_of, preset_to_toml, presets
from surgeon_engine.api.config.pruning import Memory, Structure, Target
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.planning.needs import ResourceStatus
from surgeon_engine.planning.running_memory import memory_to_run
from surgeon_engine.planning.target_size import goal_of
from surgeon_gui.controllers import draft_editor
from surgeon_gui.controllers.preset_store import PresetStore
from surgeon_gui.state.job.own_presets import presets_folder, read_presets
from surgeon_gui.text.problems import Step
from tests.helpers.fake_engine import UNSUPPORTED, model_summary
from tests.helpers.widget_queries import preset_shown
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    find,
    load_and_wait,
    pruning_of,
)

pytestmark = pytest.mark.thorough

MODEL = model_summary()
BOXES = {
    Target.PRUNABLE_SHARE: ("pruning_sparsity", 40.0),
    Target.PARAMETER_SHARE: ("pruning_parameter_share", 22.2),
    Target.PARAMETERS: ("pruning_million_parameters", 2.345),
    Target.FILE_SIZE: ("pruning_megabytes", 9.123),
    Target.MEMORY: ("pruning_memory_gigabytes", 0.026),
}
LARGE = replace(
    QUICK,
    calibration=CalibrationConfig(
        windows=512, validation_windows=8, window_length=512, batch=64
    ),
)


def on_target_page(qtbot, window, config=QUICK):
    window.load_config(config)
    qtbot.waitUntil(
        lambda: window.session.state.resource_check is not None, timeout=TIMEOUT_MS
    )
    window.open_step(Step.TARGET)
    return window


@pytest.fixture
def page(qtbot, window):
    load_and_wait(qtbot, window)
    return on_target_page(qtbot, window)


def number(window, name):
    return float(re.sub(r"[^\d.]", "", find(window, name).text()))


# linked sizes


@pytest.mark.parametrize("target", Target)
def test_editing_one_size_updates_the_others(page, target):
    name, value = BOXES[target]
    find(page, name).setValue(value)
    pruning = pruning_of(page)
    assert values_of(pruning)["target"] is target
    assert find(page, f"hold_{target.value}_radio").isChecked()
    goal = goal_of(pruning, MODEL, "float32")
    shown = {
        Target.PRUNABLE_SHARE: round(100 * goal.sparsity, 1),
        Target.PARAMETER_SHARE: round(100 * goal.parameter_share, 1),
        Target.PARAMETERS: goal.parameters / 1e6,
        Target.FILE_SIZE: goal.weight_bytes / 1e6,
        Target.MEMORY: memory_to_run(goal.weight_bytes, 4096, MODEL) / 1e9,
    }
    for other, (box, _) in BOXES.items():
        assert number(page, box) == pytest.approx(shown[other], abs=6e-4), other
    assert find(page, "sparsity_slider").value() == round(100 * goal.sparsity)


def test_editing_the_context_keeps_the_size_or_else_the_memory(page):
    def removed():
        return goal_of(pruning_of(page), MODEL, "float32").removed

    before = removed()
    find(page, "pruning_context").setValue(2048)
    assert find(page, "hold_memory_radio").isChecked()
    assert removed() == before
    memory = pruning_of(page).target.gigabytes
    find(page, "pruning_context").setValue(1500)  # leaves more for the weights
    assert pruning_of(page).target == Memory(memory, 1500)
    assert removed() < before


def test_selected_size_is_kept_when_the_structure_changes(page):
    find(page, "pruning_million_parameters").setValue(2.5)
    find(page, "structure_elements_tile").click()
    assert pruning_of(page).target.millions == 2.5
    assert number(page, "pruning_million_parameters") == 2.5
    assert not find(page, "hold_file_size_radio").isEnabled()
    assert "the file keeps its size" in find(page, "pruning_megabytes").toolTip()


def test_unknown_sizes_show_a_dash(page):
    find(page, "pruning_million_parameters").setValue(50.0)  # more than the model has
    assert find(page, "pruning_sparsity").text() == "\N{EM DASH}"
    assert "keeps all" in find(page, "pruning_form_problem").text()
    find(page, "sparsity_slider").setValue(31)
    assert pruning_of(page).target.sparsity == 0.31
    assert find(page, "pruning_form_problem").text() == ""


# structures as pictures


def test_arrow_keys_select_structures_and_skip_disabled_ones(qtbot: QtBot, page):
    find(page, "structure_heads_tile").click()
    find(page, "structure_heads_tile").setFocus()
    selected = []
    for _ in range(len(Structure)):
        focused = find(page, f"structure_{pruning_of(page).kind.value}_tile")
        qtbot.keyClick(focused, Qt.Key.Key_Right)
        selected.append(pruning_of(page).kind)
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
    click(window, "preset_save_button")
    find(window, "preset_name_edit", QLineEdit).setText(title)
    click(window, "preset_keep_button")


def test_custom_settings_are_saved_as_a_preset(page):
    find(page, "pruning_shots").setValue(17)
    save_preset(page, "  For my   laptop ")
    assert preset_shown(page) == "For my laptop"
    (saved,), problems = read_presets(presets_folder())
    assert problems == []
    assert saved.pruning == pruning_of(page)
    assert saved.is_in(page.session.state.config)
    find(page, "pruning_shots").setValue(3)
    assert preset_shown(page) == "Custom settings"
    page.session.draft.choose_preset(saved)
    assert pruning_of(page).shots == 17


@pytest.mark.parametrize("title", ["", "  ", presets()[0].title.upper()])
def test_preset_needs_a_unique_name(page, title):
    find(page, "pruning_shots").setValue(17)
    save_preset(page, title)
    assert find(page, "preset_problem").text()
    assert read_presets(presets_folder()) == ([], [])


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


def test_invalid_preset_file_is_reported(page, tmp_path):
    file = tmp_path / "broken.toml"
    file.write_text("title = 3")
    page.findChild(PresetStore).add_from_file(str(file))
    assert page.session.state.notice is not None
    assert page.session.state.own_presets == ()


def test_user_presets_are_loaded_at_startup(qtbot, make_window):
    presets_folder().mkdir(parents=True)
    preset = preset_of("mine", "Mine", "All mine.", QUICK)
    (presets_folder() / "mine.toml").write_text(preset_to_toml(preset))
    (presets_folder() / "broken.toml").write_text("title =")
    window = make_window()
    load_and_wait(qtbot, window)
    assert preset_shown(window) == "Mine"
    assert "broken" in window.session.state.notice.message


def test_unreadable_preset_file_is_not_overwritten(qtbot, make_window):
    presets_folder().mkdir(parents=True)
    broken = presets_folder() / "mine.toml"
    broken.write_text("title =")
    window = make_window()
    load_and_wait(qtbot, window)
    window.findChild(PresetStore).save("Mine")
    (saved,), _ = read_presets(presets_folder())
    assert saved.title == "Mine"
    assert broken.read_text() == "title ="


# the plan


def test_plan_shows_resources_and_green_lights(page):
    assert "2.83" in find(page, "plan_sizes").text()
    assert "of 16.0" in find(page, "plan_memory").text()
    assert "about" in find(page, "plan_time").text()
    assert not find(page, "plan_time_light").isVisible()  # any time fits
    for name in ("plan_light", "plan_memory_light", "plan_disk_light"):
        badge = find(page, name)
        assert badge.light is ResourceStatus.GREEN
        assert badge.accessibleName().endswith("Fits")
    assert not find(page, "fit_button").isVisible()
    plan = find(page, "plan_label")
    assert "about" in plan.text()
    assert "It needs" in plan.toolTip()


def test_plan_shows_the_recovery_that_is_chosen(qtbot, make_window):
    window = on_target_page(qtbot, make_window())
    label = find(window, "plan_recovery")
    session = window.session
    recovery = RecoveryConfig(Recovery.AUTOMATIC, own_windows=8)
    session.draft.edit_part(recovery)
    assert label.text() == "Recovery: distillation, all weights."
    assert label.isVisible()
    session.draft.edit_part(replace(recovery, max_minutes=1e-3))
    assert label.text().startswith("Recovery: refit. A closer one takes ")
    session.draft.edit_part(replace(recovery, level=Recovery.REFIT))
    assert not label.isVisible()


def test_plan_follows_the_settings(page):
    before = find(page, "plan_memory").text()
    find(page, "calibration_batch").setValue(512)
    find(page, "calibration_windows").setValue(512)
    assert find(page, "plan_memory").text() != before


def test_tight_run_has_a_yellow_light_and_can_start(qtbot, make_window):
    window = on_target_page(qtbot, make_window("--free-memory", "1100000000"))
    assert find(window, "plan_memory_light").light is ResourceStatus.YELLOW
    assert find(window, "start_button").isEnabled()


def test_run_that_does_not_fit_cannot_start_until_adjusted(qtbot, make_window):
    window = make_window("--free-memory", "1500000000")
    on_target_page(qtbot, window, LARGE)
    assert find(window, "plan_memory_light").light is ResourceStatus.RED
    assert find(window, "plan_light").light is ResourceStatus.RED
    assert not find(window, "start_button").isEnabled()
    assert "Not enough" in find(window, "plan_label").text()
    click(window, "fit_button")
    qtbot.waitUntil(
        lambda: window.session.state.resource_check is not None, timeout=TIMEOUT_MS
    )
    assert window.session.state.resource_check.room is ResourceStatus.GREEN
    assert find(window, "start_button").isEnabled()
    note = find(window, "fit_note").text()
    assert note.startswith("Changed: ")
    assert "Batch from 64 to 8" in note
    undo(window)
    assert window.session.state.config == LARGE
    assert find(window, "fit_note").text() == ""


def test_fit_button_reports_that_no_settings_fit(qtbot, make_window):
    window = on_target_page(qtbot, make_window("--free-memory", "1000000"))
    click(window, "fit_button")
    assert "No settings make this run fit" in find(window, "fit_note").text()
    assert window.session.state.config == QUICK


# undo and redo


def undo(window):
    action = find(window, "undo_action", QAction)
    assert action.isEnabled()
    action.trigger()


def test_undo_restores_presets_and_linked_sizes(page):
    session = page.session
    configs = [session.state.config]
    session.draft.choose_preset(presets()[2])
    configs.append(session.state.config)
    find(page, "pruning_megabytes").setValue(9.5)
    configs.append(session.state.config)
    find(page, "structure_neurons_tile").click()
    configs.append(session.state.config)
    for config in reversed(configs[:-1]):
        undo(page)
        assert session.state.config == config
    assert preset_shown(page) == "Custom settings"
    assert number(page, "pruning_sparsity") == 30
    find(page, "redo_action", QAction).trigger()
    assert preset_shown(page) == presets()[2].title
    session.draft.choose_preset(None)  # the settings from before the preset
    assert session.state.config == configs[0]


def test_undo_and_redo_name_their_step(page):
    def labels():
        names = ("undo_action", "redo_action")
        return [find(page, name, QAction).text().replace("&", "") for name in names]

    page.session.draft.choose_preset(presets()[2])
    find(page, "pruning_shots").setValue(7)
    assert labels() == ["Undo: Shots", "Redo"]
    undo(page)
    assert labels() == ["Undo: Preset", "Redo: Shots"]
    find(page, "structure_n_m_tile").click()
    find(page, "sparsity_slider").setValue(70)  # refused: undo discards it
    assert labels() == ["Undo", "Redo"]


def test_slider_drag_is_undone_in_one_step(page, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: 100.0)  # no pause between the edits
    monkeypatch.setattr(draft_editor, "time", clock)
    for percent in range(31, 60):
        find(page, "sparsity_slider").setValue(percent)
    undo(page)
    assert pruning_of(page).target.sparsity == 0.3
    assert find(page, "sparsity_slider").value() == 30


def test_undo_discards_rejected_input_first(page):
    find(page, "structure_n_m_tile").click()
    find(page, "sparsity_slider").setValue(70)  # 2:4 removes at most half
    assert find(page, "pruning_form_problem").text()
    undo(page)
    assert find(page, "pruning_form_problem").text() == ""
    assert find(page, "structure_n_m_tile").isChecked()
    assert pruning_of(page).target.sparsity == 0.5


@pytest.mark.parametrize("keys", ["Ctrl+Z", "Ctrl+Shift+Z"])
def test_unmodified_input_leaves_undo_keys_to_the_menu(page, keys):
    box = find(page, "pruning_protect")
    # Emitted by hand: offscreen windows get no focus.
    QApplication.instance().focusChanged.emit(None, box)

    def takes_key():
        key = QKeySequence(keys)[0]
        kind = QEvent.Type.ShortcutOverride
        event = QKeyEvent(kind, key.key(), key.keyboardModifiers())
        event.ignore()
        QApplication.sendEvent(box, event)
        return event.isAccepted()

    assert not takes_key()
    box.setModified(True)
    assert takes_key()


def test_undo_and_redo_have_standard_shortcuts(page):
    shortcuts = [
        find(page, f"{name}_action", QAction).shortcut().toString()
        for name in ("undo", "redo")
    ]
    assert shortcuts == ["Ctrl+Z", "Ctrl+Shift+Z"]
