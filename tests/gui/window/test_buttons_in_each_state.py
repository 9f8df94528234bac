"""Every button and menu action is enabled in the right states of a run.

A button counts as enabled if it is enabled and visible once its step, tab or panel is
open. An action counts as enabled if its menu can be opened.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QDockWidget,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
)
from surgeon_gui.window.central_tabs import CentralTabs

from surgeon_gui.state.app import Engine
from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import Step
from surgeon_gui.views.steps.page import Page
from tests.helpers.windows import (
    LONG,
    QUICK,
    cancel_run,
    click,
    find,
    find_type,
    load_and_wait,
    run_of,
    trigger,
    wait_for_status,
    wait_until,
)

BUTTONS = (QPushButton, QToolButton)
SLOW = ("--pause", "0.01")


class State(Enum):
    """A state of a window."""

    EMPTY = "no model is chosen"
    READY = "a model is chosen"
    STARTING = "the run is starting"
    RUNNING = "the run is in progress after its first shot"
    PAUSING = "the run is pausing"
    PAUSED = "the run is paused"
    STOPPING = "the run stops after the current shot"
    CANCELLING = "the run is being cancelled"
    CANCELLED = "the run was cancelled after a shot"
    FAILED = "the run failed in its first shot"
    FINISHED = "the run is finished"
    REOPENED = "an earlier run was opened; no model is chosen"


S = State
ALL = frozenset(State)
IN_PROGRESS = {S.STARTING, S.RUNNING, S.PAUSING, S.PAUSED, S.STOPPING, S.CANCELLING}
ENDED = {S.CANCELLED, S.FAILED, S.FINISHED}
WITH_A_RUN = IN_PROGRESS | ENDED | {S.REOPENED}
WITH_A_MODEL = {S.READY} | IN_PROGRESS | ENDED
WITH_VIEWS = WITH_A_MODEL | {S.REOPENED}
IDLE = {S.READY} | ENDED  # a model is chosen and the engine is idle
WITH_A_BASELINE = WITH_A_RUN - {S.STARTING}
WITH_A_SHOT = WITH_A_BASELINE - {S.FAILED}
WITH_A_RESULT = {S.FINISHED, S.REOPENED}


CHARTS_WITH_ZOOM = ("perplexity", "costs", "memory", "times")


def chart_controls(*charts):
    """Return the button of each chart with a menu, and the actions in it."""
    parts = ("more_button", "enlarge_action", "png_action", "svg_action", "csv_action")
    zoom = ("zoom_in_action", "zoom_out_action")
    return " ".join(
        f"{chart}_{part}"
        for chart in charts
        for part in (*parts, *(zoom if chart in CHARTS_WITH_ZOOM else ()))
    )


# (states in which they are enabled, reason, object names). Those that are not listed
# need more: a selection, an open question, another task, an enlarged chart.
SPECIFICATION = (
    (
        ALL,
        "The next job can be set up at any time, also during a run.",
        "search_hub_button "
        "open_folder_action open_gguf_action use_demo_action "
        "model_advanced_button calibration_advanced_button pruning_advanced_button "
        "evaluation_advanced_button "
        "recovery_advanced_button export_advanced_button text_file_button "
        "validation_file_button more_file_button more_dataset_button "
        "preset_more_button preset_import_action "
        "run_parent_button export_choose_button load_job_button load_job_action",
    ),
    (
        ALL,
        "Controls of the window itself.",
        "log_button log_action log_copy_button log_save_button runs_button "
        "runs_action runs_refresh_button theme_system_action theme_light_action "
        "theme_dark_action language_system_action language_en_action "
        "language_de_action reset_layout_action commands_action show_hint_action "
        "save_bundle_action save_picture_action about_action quit_action "
        "preferences_action computers_action disk_space_action guide_action "
        "computers_button "
        "go_model_action go_calibration_action go_target_action go_run_action "
        "go_export_action",
    ),
    (
        {S.EMPTY},
        "The empty state is replaced by the tabs once they have content.",
        "empty_demo_button empty_folder_button empty_gguf_button empty_hub_button "
        "empty_sample_button",
    ),
    (
        WITH_VIEWS,
        "The empty state has the same buttons.",
        "open_folder_button open_gguf_button use_demo_button use_sample_button",
    ),
    (
        WITH_VIEWS,
        "Tabs, the actions that open them, and choices in them.",
        "go_live_tab_action go_result_tab_action go_diagnosis_tab_action "
        "go_architecture_tab_action go_compare_tab_action "
        "go_playground_tab_action go_resources_tab_action target_diagnose_button "
        "perplexity_log_button compare_runs_button "
        "playground_original_button playground_original_demo_action "
        "playground_original_folder_action playground_original_gguf_action "
        "playground_pruned_button playground_pruned_folder_action "
        "playground_pruned_gguf_action",
    ),
    (
        WITH_A_MODEL,
        "The job has a model, and choosing it can be undone.",
        "save_job_button save_job_action protect_choose_button undo_action",
    ),
    (
        WITH_A_MODEL,
        "A job can be added to the queue at any time, also during a run.",
        "queue_add_button queue_add_action queue_sweep_button sweep_action",
    ),
    (
        IDLE,
        "The engine does one thing at a time.",
        "start_button start_action preview_button diagnose_button",
    ),
    (
        {S.STARTING, S.RUNNING, S.PAUSED},
        "Pause; the same button resumes a paused run.",
        "pause_button pause_action",
    ),
    (
        {S.STARTING, S.RUNNING, S.PAUSING, S.PAUSED},
        "A run can be stopped once.",
        "stop_button stop_action",
    ),
    (
        IN_PROGRESS - {S.CANCELLING},
        "A run that is stopping can still be cancelled.",
        "cancel_button cancel_action",
    ),
    (
        WITH_A_RUN,
        "A run has a folder and a report, whatever its outcome.",
        "open_run_button report_html_action report_pdf_action",
    ),
    (
        WITH_VIEWS,
        "The architecture of the model or of the opened run.",
        chart_controls("architecture"),
    ),
    (
        WITH_A_BASELINE,
        "Charts can be zoomed and saved once they have data.",
        chart_controls("perplexity", "sparsity", "times", "memory"),
    ),
    (
        WITH_A_SHOT,
        "Costs are known after a shot.",
        chart_controls("costs"),
    ),
    (
        WITH_A_RESULT,
        "The pruned model can be saved, measured and tried.",
        "open_export_button save_button save_choose_button save_advanced_button "
        "measure_button playground_generate_button result_try_button "
        "result_next_button result_discard_button report_button",
    ),
    (
        ENDED | {S.REOPENED},
        "The run is a recent one.",
        "recent_clear_action",
    ),
    (
        {S.FAILED},
        "The error bar.",
        "error_copy_button error_details_button error_dismiss_button",
    ),
    (
        {S.REOPENED},
        "An earlier run can be closed, and its settings can be used.",
        "earlier_close_button use_settings_button",
    ),
    (
        {S.EMPTY, S.REOPENED},
        "The settings are those of a preset.",
        "preset_export_action",
    ),
    (
        ALL - {S.EMPTY, S.REOPENED},
        "The settings are not those of a preset.",
        "preset_save_button",
    ),
)


def check(window, state):
    """Compare a window with the specification.

    No event is handled meanwhile, so that the run stays in its state.
    """
    find(window, "playground_prompt", QPlainTextEdit).setPlainText("Once upon a time")
    expected = {
        name
        for states, _, names in SPECIFICATION
        if state in states
        for name in names.split()
    }
    if state is S.REOPENED:  # its settings are read only
        expected -= buttons_of_settings(window)
    enabled = enabled_items(window)
    assert enabled - expected == set(), f"enabled although {state.value}"
    assert expected - enabled == set(), f"disabled although {state.value}"


def start(qtbot, window, config):
    load_and_wait(qtbot, window, config)
    click(window, "start_button")


def test_buttons_and_actions_of_a_run_that_finishes_and_is_reopened(
    qtbot, sample, make_window
):
    window = make_window(*SLOW)
    wait_until(qtbot, lambda: window.session.state.engine is Engine.READY)
    check(window, S.EMPTY)
    load_and_wait(qtbot, window, LONG)
    check(window, S.READY)
    click(window, "start_button")
    check(window, S.STARTING)
    wait_until(qtbot, lambda: run_of(window).history)
    check(window, S.RUNNING)
    trigger(window, "pause_action")
    check(window, S.PAUSING)
    wait_for_status(qtbot, window, Status.PAUSED)
    check(window, S.PAUSED)
    trigger(window, "stop_action")
    check(window, S.STOPPING)
    wait_for_status(qtbot, window, Status.FINISHED)
    # The fake engine reports a checkpoint without writing it.
    Path(run_of(window).exported.folder).mkdir(parents=True)
    window.session.changed.emit()
    check(window, S.FINISHED)
    again = make_window()
    wait_until(qtbot, lambda: again.session.state.engine is Engine.READY)
    again.open_run(Path(run_of(window).folder))
    wait_until(qtbot, lambda: again.session.state.shown_run.name)
    check(again, S.REOPENED)


def test_buttons_and_actions_of_a_cancelled_run(qtbot, sample, make_window):
    window = make_window(*SLOW)
    start(qtbot, window, LONG)
    wait_until(qtbot, lambda: run_of(window).history)
    cancel_run(window)
    check(window, S.CANCELLING)
    wait_for_status(qtbot, window, Status.CANCELLED)
    check(window, S.CANCELLED)


def test_buttons_and_actions_of_a_failed_run(qtbot, sample, make_window):
    window = make_window("--mishap", "fail", "--at", "selection")
    start(qtbot, window, QUICK)
    wait_for_status(qtbot, window, Status.FAILED)
    check(window, S.FAILED)


def test_specified_buttons_and_actions_exist_once(window):
    specified = [name for *_, names in SPECIFICATION for name in names.split()]
    assert len(specified) == len(set(specified))
    items = [each for kind in (*BUTTONS, QAction) for each in window.findChildren(kind)]
    assert set(specified) <= {each.objectName() for each in items if has_own_name(each)}


def buttons_of_settings(window):
    """Return the names of the buttons with which the settings are edited."""
    return {
        each.objectName()
        for page in window.findChildren(Page)
        for kind in (*BUTTONS, QAction)
        for each in page.settings.findChildren(kind)
    }


def enabled_buttons(window):
    """Return the names of the enabled buttons on all steps, tabs and panels."""
    found = set()
    for _ in open_everything(window):
        for kind in BUTTONS:
            found |= {
                button.objectName()
                for button in window.findChildren(kind)
                if button.isVisible() and button.isEnabled() and has_own_name(button)
            }
    return found


def open_everything(window):
    """Open every step, tab and panel, one after the other."""
    for step in Step:
        window.open_step(step)
        yield step
    tabs = find_type(window, CentralTabs)
    for name in tabs.names:
        tabs.open_tab(name)
        yield name
    for dock in window.findChildren(QDockWidget):
        dock.show()
        yield dock


def enabled_items(window):
    """Return the names of the enabled buttons and of the actions in open menus."""
    buttons = enabled_buttons(window)
    menus = [action.menu() for action in window.menuBar().actions()]
    for kind in BUTTONS:
        owners = [each for each in window.findChildren(kind) if each.menu()]
        menus += [each.menu() for each in owners if each.objectName() in buttons]
    return buttons | {
        action.objectName()
        for menu in menus
        for action in actions_of(menu)
        if action.isEnabled() and has_own_name(action)
    }


def actions_of(menu: QMenu):
    """Yield the actions of a menu and of its submenus."""
    for action in menu.actions():
        if action.menu() is None:
            yield action
        else:
            yield from actions_of(action.menu())


def has_own_name(item: QAction | QPushButton | QToolButton) -> bool:
    """Return whether an item has a name that is not one of Qt's, nor numbered."""
    name = item.objectName()
    is_recent = re.fullmatch(r"recent_\w+_action_\d+", name) is not None
    is_of_qt = name.startswith(("qt_", "_q_", "Scroll"))
    return bool(name) and not is_of_qt and not is_recent
