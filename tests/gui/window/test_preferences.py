"""The Preferences dialog: changes apply at once, and Cancel undoes them."""

import os
import sys

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import Device
from surgeon_gui.base import offline
from surgeon_gui.base import settings as settings_store
from surgeon_gui.base.colors import DARK
from surgeon_gui.base.settings import Preferences, Settings, ThemeChoice, Units
from surgeon_gui.base.theme import theme_of
from surgeon_gui.state.app import Engine
from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import Kind, Step
from surgeon_gui.views.preferences.dialog import PreferencesDialog
from surgeon_gui.window.desktop_integration import DesktopIntegration
from tests.helpers import window_audit
from tests.helpers.windows import (
    LONG,
    click,
    find,
    find_type,
    load_and_wait,
    run_until,
    trigger,
    wait_until,
)

CHECKS = ("preferences_awake_check", "preferences_offline_check")


@pytest.fixture(autouse=True)
def no_lasting_effects(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setitem(sys.modules, "wakepy", type(sys)("wakepy"))
    yield
    os.environ.pop("HF_HUB_OFFLINE", None)


@pytest.fixture
def dialog(qtbot, window):
    wait_until(qtbot, lambda: window.session.state.engine is Engine.READY)
    yield open_dialog(window)
    for each in window.findChildren(QDialog):
        each.close()


def open_dialog(window):
    find(window, "preferences_action", QAction).trigger()
    dialogs = window.findChildren(QDialog, "preferences_dialog")
    (dialog,) = [each for each in dialogs if each.isVisible()]
    return dialog


def choose(dialog, name, text):
    box = find(dialog, name, QComboBox)
    index = box.findText(text)
    assert index >= 0, text
    box.setCurrentIndex(index)
    box.activated.emit(index)


@pytest.mark.parametrize("name", ["file", "file/runs"])
def test_runs_folder_that_cannot_be_made_is_refused(qtbot, tmp_path, name):
    (tmp_path / "file").touch()
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = PreferencesDialog(Preferences(), parent)
    edit = find(dialog, "preferences_run_parent_edit", QLineEdit)
    edit.setText(str(tmp_path / name))
    with qtbot.assertNotEmitted(dialog.edited):
        edit.editingFinished.emit()
    problem = find(dialog, "preferences_run_parent_problem", QLabel)
    assert "is a file. Choose a folder" in problem.text()
    edit.setText(str(tmp_path / "new"))
    with qtbot.waitSignal(dialog.edited):
        edit.editingFinished.emit()
    assert not problem.text()


def change_everything(dialog, folder):
    edit = find(dialog, "preferences_run_parent_edit", QLineEdit)
    edit.setText(str(folder))
    edit.editingFinished.emit()
    choose(dialog, "preferences_theme_combo", "Dark")
    choose(dialog, "preferences_language_combo", "Deutsch")
    choose(dialog, "preferences_device_combo", "CPU")
    choose(dialog, "preferences_units_combo", "MiB and GiB (steps of 1024)")
    for name in CHECKS:
        find(dialog, name, QCheckBox).click()


@pytest.mark.parametrize("is_missing", [True, False])
def test_box_without_effect_is_off_and_says_what_to_install(
    qtbot, monkeypatch, is_missing
):
    if is_missing:
        monkeypatch.setitem(sys.modules, "wakepy", None)
    parent = QWidget()
    qtbot.addWidget(parent)
    box = find(PreferencesDialog(Preferences(), parent), CHECKS[0])
    assert box.isEnabled() is box.isChecked() is not is_missing
    assert ("pip install wakepy" in box.toolTip()) is is_missing


def test_changes_apply_at_once_and_cancel_undoes_them(window, dialog, tmp_path):
    assert window_audit.problems(dialog) == []
    assert window_audit.out_of_order(dialog) == []
    notes = [label.text() for label in dialog.findChildren(QLabel)]
    assert any("at the next start" in note for note in notes)
    before = window.session.state.run_parent
    change_everything(dialog, tmp_path / "elsewhere")
    state, settings = window.session.state, window.settings
    assert state.run_parent == str(tmp_path / "elsewhere")
    assert theme_of(window) is DARK
    assert find(window, "theme_dark_action", QAction).isChecked()
    assert settings.language == "de"
    assert find(window, "language_de_action", QAction).isChecked()
    assert state.config.model.device is Device.CPU
    assert settings.keeps_awake is False
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    click(dialog, "preferences_cancel_button")
    state = window.session.state
    assert state.run_parent == before
    assert settings.theme is ThemeChoice.SYSTEM
    assert settings.language == ""
    assert state.config.model.device is Device.AUTO
    assert settings.device is Device.AUTO
    assert settings.keeps_awake is True
    assert settings.units is Units.DECIMAL
    assert not offline.is_on()


def test_ok_keeps_the_changes_for_the_next_start(window, dialog, tmp_path):
    change_everything(dialog, tmp_path / "elsewhere")
    click(dialog, "preferences_ok_button")
    settings_store.save(window.settings)
    loaded = settings_store.load()
    assert loaded.theme is ThemeChoice.DARK
    assert loaded.device is Device.CPU
    assert loaded.keeps_awake is False
    assert loaded.units is Units.BINARY
    assert loaded.is_offline is True


@pytest.mark.parametrize("pace", ["nan", "inf", "-1", "0", "fast"])
def test_pace_that_is_no_factor_becomes_the_default(pace):
    QSettings().setValue("pace", pace)
    assert settings_store.load().pace == 1.0


def test_device_is_that_of_new_jobs_but_not_of_a_job_with_another(
    window, dialog, make_window
):
    choose(dialog, "preferences_device_combo", "CPU")
    trigger(window, "use_demo_action")
    assert window.session.state.config.model.device is Device.CPU
    choose(dialog, "preferences_device_combo", "GPU")
    assert window.session.state.config.model.device is Device.GPU
    choose(dialog, "preferences_device_combo", "CPU")
    window.session.draft.load(LONG)  # has the device "auto"
    choose(dialog, "preferences_device_combo", "GPU")
    assert window.session.state.config.model.device is Device.AUTO
    again = make_window(settings=Settings(device=Device.CPU))
    assert again.session.state.config.model.device is Device.CPU
    assert not find(again, "undo_action", QAction).isEnabled()


def test_offline_mode_offers_no_download(window, dialog, monkeypatch):
    window.session.draft.choose_model("hf://org/name")
    download = find(window, "download_button", QPushButton)
    sample = find(window, "use_sample_action", QAction)
    assert download.isEnabled()
    assert sample.isEnabled()
    check = find(dialog, "preferences_offline_check", QCheckBox)
    check.click()
    assert not download.isEnabled()
    assert not sample.isEnabled()
    problems = window.session.state.problems
    assert problems[Step.MODEL][0].kind is Kind.MODEL_OFFLINE
    check.click()
    assert download.isEnabled()
    assert sample.isEnabled()
    calibration = CalibrationConfig(text="hf://datasets/org/name", column="text")
    window.session.draft.edit_part(calibration)
    assert Step.CALIBRATION not in window.session.state.problems
    check.click()
    problems = window.session.state.problems
    assert problems[Step.CALIBRATION][0].kind is Kind.DATASET_OFFLINE
    dialog.close()
    monkeypatch.setattr(offline, "_given", "1")  # by the environment
    check = find(open_dialog(window), "preferences_offline_check", QCheckBox)
    assert check.isChecked()
    assert not check.isEnabled()


def test_changes_during_a_run_reach_the_desktop_at_once_and_the_engine_once_idle(
    qtbot, make_window, monkeypatch
):
    window = make_window("--pause", "0.01")
    run_until(qtbot, window, Status.RUNNING, LONG)
    engine, seen = window.test_engine, []
    make = engine._supervisor._make_client

    def make_client():
        seen.append(os.environ.get("HF_HUB_OFFLINE"))
        return make()

    engine._supervisor._make_client = make_client
    dialog = open_dialog(window)
    find(dialog, "preferences_offline_check", QCheckBox).click()
    check = find(dialog, "preferences_awake_check", QCheckBox)
    held = []
    awake = find_type(window, DesktopIntegration)._awake
    awake.hold, awake.allow_sleep = lambda: held.append(1), lambda: held.append(0)
    for is_held in (0, 1):  # the computer may sleep as soon as that is chosen
        check.click()
        assert held[-1] == is_held
    qtbot.wait(50)
    assert seen == []  # the run goes on
    assert window.session.state.run.status is Status.RUNNING
    window.session.cancel()
    wait_until(qtbot, lambda: seen == ["1"])
    load_and_wait(qtbot, window, LONG)
    dialog.close()
