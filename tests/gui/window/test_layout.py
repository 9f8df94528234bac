"""No text is cut off at 1280 x 720, and every control has a name of its own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLabel, QPushButton, QWidget
from superqt import QElidingLabel

from docs import generate_objects
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.pruning import Structure, Target
from surgeon_engine.api.messages.events import Failed
from surgeon_gui.state.app import Step
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.run import Status
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.runs.earlier_bar import Bar
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


def test_spin_box_stays_below_the_pointer_when_a_problem_appears_above(qtbot, window):
    load_and_wait(qtbot, window)
    window.resize(1024, 700)
    window.open_step(Step.TARGET)
    find(window, "pruning_advanced_button").setChecked(True)
    settle()
    area, blocks = find(window, "step_panel"), find(window, "pruning_dropped_blocks")
    area.ensureWidgetVisible(blocks)
    blocks.setFocus()
    settle()
    before = blocks.mapTo(area, QPoint()).y()
    scrolled = area.verticalScrollBar().value()
    while not window.session.state.problems:
        blocks.stepUp()
        settle()
    qtbot.waitUntil(lambda: blocks.mapTo(area, QPoint()).y() == before)
    assert area.verticalScrollBar().value() != scrolled
    # And when it goes, with the area at its end.
    bar = area.verticalScrollBar()
    bar.setValue(bar.maximum())
    settle()
    before = blocks.mapTo(area, QPoint()).y()
    while window.session.state.problems:
        blocks.stepDown()
        settle()
    qtbot.waitUntil(lambda: blocks.mapTo(area, QPoint()).y() == before)


def test_window_of_a_first_start_fits_on_the_screen(window):
    find(window, "reset_layout_action", QAction).trigger()
    available = window.screen().availableGeometry()  # 800 x 800
    assert window.height() < available.height()
    assert window.width() == window.minimumWidth()


def test_no_text_is_cut_off_before_a_model_is_chosen(window):
    assert cut_texts(window) == []


def test_every_control_has_a_unique_name(window):
    items = {id(each): each for each in controls(window)}
    actions = [each for each in window.findChildren(QAction) if each.objectName()]
    names = [each.objectName() for each in (*items.values(), *actions)]
    assert "" not in names
    own = [name for name in names if not name.startswith(QT_PREFIXES)]
    assert [name for name in set(own) if own.count(name) > 1] == []


def test_page_of_names_has_every_control_and_every_caption_once(window):
    written = re.findall(r"^\| `(\w+)`", generate_objects.page(window), re.MULTILINE)
    assert len(written) == len(set(written))
    live = {each.objectName() for each in controls(window)}
    named = {n for n in live if not n.startswith((*QT_PREFIXES, "recent_", "go_"))}
    assert named | set(CAPTIONS) <= set(written)


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


@pytest.mark.parametrize("has_model", [False, True])
def test_steps_centre_and_runs_are_beside_each_other_in_a_small_window(
    qtbot, window, has_model
):
    if has_model:
        load_and_wait(qtbot, window)
    window.resize(940, 540)  # a screen of 1920 x 1080 at scale 2, less its edges
    dock = find(window, "runs_dock")
    dock.show()
    settle()
    bottom = dock.mapTo(window, dock.rect().bottomLeft()).y()
    assert bottom <= find(window, "action_strip").mapTo(window, QPoint()).y()
    centre = find(window, "centre_tabs").parentWidget()
    parts = (find(window, "step_panel"), centre, dock)
    edges = []
    for part in filter(QWidget.isVisible, parts):  # the steps give way to the runs
        left = part.mapTo(window, QPoint()).x()
        edges += [left, left + part.width()]
    assert edges == sorted(edges)


def test_buttons_are_below_the_plan_where_they_would_leave_it_little_width(
    qtbot, window
):
    load_and_wait(qtbot, window)
    plan, start = find(window, "plan_label"), find(window, "start_button")
    window.resize(1280, 720)
    settle()
    assert start.geometry().left() > plan.geometry().right()
    window.resize(920, 720)
    settle()
    assert start.geometry().top() > plan.geometry().bottom()
    assert plan.width() > 600


def test_buttons_of_a_bar_are_below_its_text_where_it_is_narrow(qtbot):
    bar, text, button = Bar(), QLabel("text"), QPushButton("button")
    qtbot.addWidget(bar)
    bar.lay_out(text, button)
    bar.show()
    for width, is_below in ((600, False), (300, True)):
        bar.resize(width, 80)
        settle()
        assert (button.geometry().top() > text.geometry().bottom()) is is_below


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


def test_line_of_a_finished_run_is_elided_after_the_kl(qtbot, window):
    load_and_wait(qtbot, window)
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    label = find(window, "phase_label", QElidingLabel)
    assert label.text().startswith("Finished: KL ")
    assert label.elideMode() is Qt.TextElideMode.ElideRight
