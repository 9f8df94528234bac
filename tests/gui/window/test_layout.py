"""No text is cut off at 1280 x 720, and docs/objects.md lists every control."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint
from PySide6.QtGui import QAction

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.pruning import Structure, Target
from surgeon_engine.api.messages.events import Failed
from surgeon_gui.state.app import Step
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.window.central_tabs import CentralTabs
from tests.helpers.configs import pruning_config
from tests.helpers.window_audit import controls, cut_texts, overlapping, settle
from tests.helpers.windows import (
    QUICK,
    TIMEOUT_MS,
    click,
    find,
    find_type,
    load_and_wait,
    open_tab,
    wait_for_status,
)

pytestmark = pytest.mark.thorough

OBJECTS = Path(__file__).parents[3] / "docs" / "objects.md"
QT_PREFIXES = ("_q_", "Scroll")  # controls that Qt creates


@pytest.mark.parametrize("step", Step)
def test_no_text_is_cut_off_in_a_small_window(qtbot, window, step):
    load_and_wait(qtbot, window)
    window.open_step(step)
    for name in ("model", "calibration", "pruning", "export", "save"):
        button = find(window, f"{name}_advanced_button")
        button.setChecked(True)
    assert cut_texts(window) == []
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    click(window, "log_button")
    window.show_problem(Failed("It went wrong. " * 12, "Try again. " * 12, "details"))
    assert cut_texts(window) == []


@pytest.mark.parametrize("file_format", [Format.AUTOMATIC, Format.GGUF])
@pytest.mark.parametrize("structure", [Structure.HEADS, Structure.N_M, Structure.ROWS])
def test_no_text_is_cut_off_after_saving_and_measuring(
    qtbot, make_window, file_format, structure
):
    window = make_window("--pause", "0.005", "--unrun")

    def check_texts():
        # The layout of a new card takes several turns of the event loop.
        qtbot.waitUntil(lambda: cut_texts(window) == [], timeout=TIMEOUT_MS)

    export = ExportConfig(format=Format.AUTOMATIC)
    pruning = pruning_config(structure, sparsity=0.15, shots=1)
    load_and_wait(qtbot, window, replace(QUICK, pruning=pruning, export=export))
    window.session.edit_export(ExportConfig(format=file_format))  # the next run
    check_texts()
    window.session.edit_export(export)
    window.open_step(Step.EXPORT)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    check_texts()
    for start_task in (window.session.save, window.session.measure):
        start_task()
        qtbot.waitUntil(lambda: has_progress(window), timeout=TIMEOUT_MS)
        check_texts()
        qtbot.waitUntil(lambda: not window.session.state.is_busy, timeout=TIMEOUT_MS)
        check_texts()
    panel = find(window, "step_panel")
    assert panel.widget().width() <= panel.viewport().width()
    window.session.edit_save_config(ExportConfig(window.session.state.run.folder))
    check_texts()


def has_progress(window):
    state = window.session.state
    kinds = (RequestKind.SAVE, RequestKind.MEASUREMENT)
    return any(state.request(kind).done > 0 for kind in kinds)


@pytest.mark.parametrize("target", Target)
def test_no_text_is_cut_off_with_any_preset_and_target(qtbot, window, target):
    load_and_wait(qtbot, window)
    window.open_step(Step.TARGET)
    find(window, "pruning_advanced_button").setChecked(True)
    for preset in presets():
        pruning = replace(preset.pruning, max_perplexity_increase=5.0)
        window.session.edit_pruning(pruning)
        assert cut_texts(window) == [], preset.name
        find(window, f"hold_{target.value}_radio").click()
        assert cut_texts(window) == [], preset.name


def test_header_of_an_opened_step_is_visible(qtbot, window):
    load_and_wait(qtbot, window)
    for step in (*Step, Step.MODEL, Step.EXPORT, Step.TARGET):
        window.open_step(step)
        settle()
        header = find(window, f"step_{step.value}_header")
        area = find(window, "step_panel")
        top = header.mapTo(area, header.rect().topLeft()).y()
        assert 0 <= top <= area.height() - header.height(), step


def test_no_text_is_cut_off_before_a_model_is_chosen(window):
    assert cut_texts(window) == []


def test_every_control_has_a_documented_name(window):
    documented = re.findall(r"^\| `(\w+)`", OBJECTS.read_text(), re.MULTILINE)
    assert len(documented) == len(set(documented))
    live = {widget.objectName() for widget in controls(window)}
    live |= {a.objectName() for a in window.findChildren(QAction) if a.objectName()}
    assert "" not in live
    assert set(documented) == {
        n for n in live if not n.startswith((*QT_PREFIXES, "go_"))
    }


def test_mnemonics_that_are_always_available_are_unique(window):
    strip = ("start", "stop", "cancel", "log", "runs")
    texts = [find(window, f"{name}_button").text() for name in (*strip, "empty_demo")]
    texts += [action.text() for action in window.menuBar().actions()]
    texts += [CAPTIONS[name].label for name in ("pause_button", "resume_button")]
    keys = [text[text.index("&") + 1].upper() for text in texts]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("width", [1024, 1280, 1920])
def test_action_strip_is_as_high_as_its_text(qtbot, window, width):
    load_and_wait(qtbot, window)
    window.resize(width, 720)
    settle()
    strip = find(window, "action_strip")
    assert strip.height() == strip.heightForWidth(strip.width())


@pytest.mark.parametrize("tab", ["live_tab", "result_tab", "playground_tab"])
@pytest.mark.parametrize("width", [1024, 1280, 1920])
def test_view_is_not_wider_than_the_window(qtbot, window, width, tab):
    load_and_wait(qtbot, window)
    window.resize(width, 700)
    open_tab(window, tab)
    settle()
    view = find_type(window, CentralTabs).currentWidget().currentWidget()
    assert view.horizontalScrollBar().maximum() == 0


def test_diagnose_button_is_below_the_plan(window):
    window.open_step(Step.TARGET)
    settle()
    page = find(window, "plan_card").parentWidget()
    plan, method = find(window, "plan_card"), find(window, "pruning_method")
    button = find(window, "target_diagnose_button")
    tops = [each.mapTo(page, QPoint()).y() for each in (plan, button, method)]
    assert tops == sorted(tops)


@pytest.mark.parametrize(("width", "is_wide"), [(960, False), (1360, True)])
def test_steps_give_way_to_the_runs_in_a_narrow_window(qtbot, window, width, is_wide):
    load_and_wait(qtbot, window)
    steps, dock = find(window, "step_panel"), find(window, "runs_dock")
    window.resize(width, 700)
    click(window, "runs_button")
    settle()
    assert steps.isVisible() is is_wide
    assert cut_texts(window) == []
    assert overlapping(window) == []
    window.open_step(Step.TARGET)
    settle()
    assert steps.isVisible()
    assert dock.isVisible() is is_wide
    dock.show()
    window.resize(1360, 700)
    assert steps.isVisible()


@pytest.mark.parametrize("name", ["runs", "log"])
def test_button_and_action_of_a_panel_stay_in_sync(window, name):
    button, dock = find(window, f"{name}_button"), find(window, f"{name}_dock")
    action = window.findChild(QAction, f"{name}_action")
    button.click()
    assert dock.isVisible() and action.isChecked()
    action.trigger()
    assert not dock.isVisible() and not button.isChecked()
    dock.show()
    assert button.isChecked() and action.isChecked()
    dock.close()
    assert not button.isChecked() and not action.isChecked()
