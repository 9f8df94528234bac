"""What can be pressed in each state of a run, for every button and command there is.

A button can be pressed if it is in sight once its step, view or panel is open, and is
not greyed out; a command of a menu, if its menu can be opened and it is not greyed out.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QDockWidget,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
)

from surgeon_gui.state.app import Engine, Step
from surgeon_gui.state.run import Status
from tests.helpers.windows import (
    LONG,
    QUICK,
    TIMEOUT_MS,
    click,
    find,
    load_and_wait,
    run_of,
    wait_for_status,
)

OBJECTS = Path(__file__).parents[3] / "docs" / "objects.md"
BUTTONS = (QPushButton, QToolButton)
SLOW = ("--pause", "0.01")


class State(Enum):
    """What a window can be doing."""

    EMPTY = "no model is chosen"
    READY = "a model is chosen"
    STARTING = "a run was asked for"
    RUNNING = "a run is under way, and a shot of it is over"
    PAUSING = "a pause was asked for"
    PAUSED = "the run stands still"
    STOPPING = "the shot under way is the last"
    CANCELLING = "the run was asked to end"
    CANCELLED = "the run was cancelled after a shot"
    FAILED = "the run failed in its first shot"
    FINISHED = "the run is finished"
    REOPENED = "an earlier run was opened; no model is chosen"


S = State
ALL = frozenset(State)
UNDER_WAY = {S.STARTING, S.RUNNING, S.PAUSING, S.PAUSED, S.STOPPING, S.CANCELLING}
AFTERWARDS = {S.CANCELLED, S.FAILED, S.FINISHED}
WITH_A_RUN = UNDER_WAY | AFTERWARDS | {S.REOPENED}
WITH_A_MODEL = {S.READY} | UNDER_WAY | AFTERWARDS
WITH_VIEWS = WITH_A_MODEL | {S.REOPENED}
AT_REST = {S.READY} | AFTERWARDS  # with a model, and the engine is free
WITH_A_BASELINE = WITH_A_RUN - {S.STARTING}
WITH_A_SHOT = WITH_A_BASELINE - {S.FAILED}
WITH_A_RESULT = {S.FINISHED, S.REOPENED}
NEVER = frozenset[State]()  # it takes more than a state of the run


def saving(*charts):
    """The button of each chart and the formats in its menu."""
    parts = ("save_button", "png_action", "svg_action", "csv_action")
    return " ".join(f"{chart}_{part}" for chart in charts for part in parts)


# (in which states, why, which)
SPECIFICATION = (
    (
        ALL,
        "The next job can be set up at any time, also while a run is under way.",
        "open_folder_button open_gguf_button use_demo_button use_sample_button "
        "open_folder_action open_gguf_action use_demo_action "
        "model_advanced_button calibration_advanced_button pruning_advanced_button "
        "export_advanced_button text_file_button validation_file_button "
        "preset_save_button preset_more_button preset_import_action "
        "run_parent_button export_choose_button load_job_button load_job_action",
    ),
    (
        ALL,
        "What concerns the window itself.",
        "log_button log_action log_copy_button log_save_button runs_button "
        "runs_action runs_refresh_button theme_system_action theme_light_action "
        "theme_dark_action language_system_action language_en_action "
        "language_de_action reset_layout_action commands_action show_hint_action "
        "save_bundle_action save_picture_action about_action quit_action "
        "go_model_action go_calibration_action go_target_action go_run_action "
        "go_export_action",
    ),
    (
        {S.EMPTY},
        "The invitation gives way to the views once there is something in them.",
        "empty_demo_button empty_folder_button empty_gguf_button empty_hub_button "
        "empty_sample_button",
    ),
    (
        WITH_VIEWS,
        "Views, the ways to them, and what is chosen in them.",
        "go_live_tab_action go_diagnosis_tab_action go_architecture_tab_action "
        "go_compare_tab_action go_playground_tab_action target_diagnose_button "
        "perplexity_log_button compare_runs_button "
        "playground_original_button playground_original_demo_action "
        "playground_original_folder_action playground_original_gguf_action "
        "playground_pruned_button playground_pruned_folder_action "
        "playground_pruned_gguf_action",
    ),
    (
        WITH_A_MODEL,
        "A job has a model, and it can be taken back that it was chosen.",
        "save_job_button save_job_action protect_choose_button undo_action",
    ),
    (
        AT_REST,
        "The engine does one thing at a time.",
        "start_button start_action preview_button diagnose_button",
    ),
    (
        {S.RUNNING, S.PAUSED},
        "Pause; the same button lets a run that is paused go on.",
        "pause_button pause_action",
    ),
    (
        {S.STARTING, S.RUNNING, S.PAUSING, S.PAUSED},
        "One stops once.",
        "stop_button stop_action",
    ),
    (
        UNDER_WAY - {S.CANCELLING},
        "A run that is stopping can still be cancelled.",
        "cancel_button cancel_action",
    ),
    (
        WITH_A_RUN,
        "A run has a folder, and can be told of however it has gone.",
        "open_run_button report_button report_html_action report_pdf_action",
    ),
    (
        WITH_VIEWS,
        "The architecture is that of the model, or of the run that was opened.",
        saving("architecture"),
    ),
    (
        WITH_A_BASELINE,
        "Charts can be saved once there is something in them.",
        saving("perplexity", "parameters", "sparsity", "times", "memory"),
    ),
    (
        WITH_A_SHOT,
        "Costs are known after a shot.",
        saving("costs"),
    ),
    (
        WITH_A_RESULT,
        "What a run has come to can be saved, measured and tried.",
        "open_export_button save_button save_choose_button save_advanced_button "
        "measure_button playground_generate_button",
    ),
    (
        {S.FAILED},
        "The error that is told.",
        "error_copy_button error_details_button error_dismiss_button",
    ),
    (
        {S.REOPENED},
        "An earlier run can be closed again.",
        "earlier_close_button",
    ),
    (
        NEVER,
        "Something has to be chosen first: runs in the list, a layer, a preset.",
        "runs_open_button runs_compare_button runs_more_button runs_open_action "
        "runs_compare_action runs_rename_action runs_duplicate_action "
        "runs_folder_action runs_delete_action limit_layer_button "
        "protect_layer_button protect_layer_action protect_block_action "
        "limit_half_action free_layer_action preset_delete_action "
        "preset_export_action compare_curves_log_button "
        + saving("compare_curves", "compare_size", "compare_figures")
        + " "
        + saving("compare_settings"),
    ),
    (
        NEVER,
        "Something has to be done first: a diagnosis, a text, a report, an undo.",
        saving("sensitivity", "forecast", "planned")
        + " playground_original_copy_button playground_pruned_copy_button "
        "playground_new_seed_button playground_run_button copy_command_button "
        "redo_action window_back_button window_on_button window_jump_button "
        "builtin_text_button preset_restore_button open_saved_button "
        "report_open_button",
    ),
    (
        NEVER,
        "Nothing is under way that these would end.",
        "playground_stop_button save_cancel_button measure_cancel_button "
        "diagnose_cancel_button download_cancel_button",
    ),
    (
        NEVER,
        "Nothing is asked, told or offered.",
        "close_cancel_button close_keep_button close_stay_button delete_no_button "
        "delete_yes_button replace_cancel_button replace_other_button "
        "replace_yes_button export_replace_button preset_keep_button "
        "preset_drop_button hint_dismiss_button hint_keys_button fit_button "
        "download_button empty_recent_button_1 empty_recent_button_2 "
        "empty_recent_button_3 empty_recent_button_4",
    ),
)


def wait(qtbot, condition):
    qtbot.waitUntil(lambda: bool(condition()), timeout=TIMEOUT_MS)


def empty(qtbot, make_window):
    window = make_window()
    wait(qtbot, lambda: window.session.state.engine is Engine.READY)
    return window


def ready(qtbot, make_window, *options, config=QUICK):
    window = make_window(*options)
    load_and_wait(qtbot, window, config)
    return window


def starting(qtbot, make_window):
    window = ready(qtbot, make_window, *SLOW, config=LONG)
    click(window, "start_button")
    return window


def running(qtbot, make_window):
    window = starting(qtbot, make_window)
    wait(qtbot, lambda: run_of(window).history)
    return window


def pausing(qtbot, make_window):
    window = running(qtbot, make_window)
    click(window, "pause_button")
    return window


def paused(qtbot, make_window):
    window = pausing(qtbot, make_window)
    wait_for_status(qtbot, window, Status.PAUSED)
    return window


def stopping(qtbot, make_window):
    window = running(qtbot, make_window)
    click(window, "stop_button")
    return window


def cancelling(qtbot, make_window):
    window = running(qtbot, make_window)
    click(window, "cancel_button")
    return window


def cancelled(qtbot, make_window):
    window = cancelling(qtbot, make_window)
    wait_for_status(qtbot, window, Status.CANCELLED)
    return window


def failed(qtbot, make_window):
    window = ready(qtbot, make_window, "--mishap", "fail", "--at", "selection")
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FAILED)
    return window


def finished(qtbot, make_window):
    window = ready(qtbot, make_window)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    # The fake engine tells of a checkpoint and writes none.
    Path(run_of(window).exported.folder).mkdir(parents=True)
    return window


def reopened(qtbot, make_window):
    folder = Path(run_of(finished(qtbot, make_window)).folder)
    window = empty(qtbot, make_window)
    window.open_run(folder)
    wait(qtbot, lambda: window.session.state.opened_run_name)
    return window


BROUGHT_ABOUT = {
    S.EMPTY: empty,
    S.READY: ready,
    S.STARTING: starting,
    S.RUNNING: running,
    S.PAUSING: pausing,
    S.PAUSED: paused,
    S.STOPPING: stopping,
    S.CANCELLING: cancelling,
    S.CANCELLED: cancelled,
    S.FAILED: failed,
    S.FINISHED: finished,
    S.REOPENED: reopened,
}


@pytest.mark.slow
@pytest.mark.parametrize("state", State, ids=lambda state: state.name.lower())
def test_what_can_be_pressed(qtbot, sample, make_window, state):
    window = BROUGHT_ABOUT[state](qtbot, make_window)
    # From here on no event is handled: the run stays as it is while it is looked at.
    find(window, "playground_prompt", QPlainTextEdit).setPlainText("Once upon a time")
    expected = {
        name
        for states, _, names in SPECIFICATION
        if state in states
        for name in names.split()
    }
    can_be_pressed = buttons_in_use(window) | commands_in_use(window)
    assert can_be_pressed - expected == set(), f"pressed although {state.value}"
    assert expected - can_be_pressed == set(), f"out of use although {state.value}"


def test_every_button_and_command_is_specified_once(window):
    specified = [name for *_, names in SPECIFICATION for name in names.split()]
    assert len(specified) == len(set(specified))
    documented = re.findall(
        r"^\| `(\w+)` \| (?:button|action) \|", OBJECTS.read_text(), re.MULTILINE
    )
    ways = [f"go_{step.value}_action" for step in Step]
    ways += [f"go_{name}_action" for name in window._centre.names]
    assert set(specified) == {*documented, *ways}


def buttons_in_use(window):
    """The names of the buttons that somebody who opens everything can press."""
    found = set()
    for _ in everything_opened(window):
        for kind in BUTTONS:
            found |= {
                button.objectName()
                for button in window.findChildren(kind)
                if button.isVisible() and button.isEnabled() and is_ours(button)
            }
    return found


def everything_opened(window):
    """Open every step, view and panel, one after the other."""
    for step in Step:
        window.open_step(step)
        yield step
    for name in window._centre.names:
        window._centre.open_tab(name)
        yield name
    for dock in window.findChildren(QDockWidget):
        dock.show()
        yield dock


def commands_in_use(window):
    """The names of the actions that can be chosen in a menu that can be opened."""
    pressed = buttons_in_use(window)
    menus = [action.menu() for action in window.menuBar().actions()]
    for kind in BUTTONS:
        owners = [each for each in window.findChildren(kind) if each.menu()]
        menus += [each.menu() for each in owners if each.objectName() in pressed]
    return {
        action.objectName()
        for menu in menus
        for action in inside(menu)
        if action.isEnabled() and is_ours(action)
    }


def inside(menu: QMenu):
    """The actions of a menu and of the menus in it."""
    for action in menu.actions():
        if action.menu() is None:
            yield action
        else:
            yield from inside(action.menu())


def is_ours(thing: QAction | QPushButton | QToolButton) -> bool:
    """Whether it has a name, and not one of Qt's own."""
    return bool(thing.objectName()) and not thing.objectName().startswith(
        ("qt_", "_q_", "Scroll")
    )
