"""Every button and menu action is enabled in the right states of a run.

A button counts as enabled if it is enabled and visible once its section or page is
open; tests of the place Runs check its own. An action counts as enabled if its menu can
be opened.
"""

import re
from enum import Enum
from pathlib import Path

from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QPlainTextEdit, QPushButton, QToolButton

from surgeon_gui.state.app import Engine
from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import Step
from surgeon_gui.window.runs_place import RunsPlace
from tests.helpers import window_audit
from tests.helpers.windows import (
    LONG,
    QUICK,
    cancel_run,
    click,
    find,
    load_and_wait,
    open_step,
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
WITHOUT_A_MODEL = {S.EMPTY, S.REOPENED}

# (states in which they are enabled, reason, object names). Controls that are not listed
# need more: a selection, an open question, another task, an enlarged chart.
SPECIFICATION = (
    (
        ALL,
        "Controls of the window itself, and ways to choose a job.",
        "open_folder_action open_gguf_action search_hub_action use_demo_action "
        "load_job_action save_picture_action preferences_action computers_action "
        "disk_space_action quit_action theme_system_action theme_light_action "
        "theme_dark_action language_system_action language_en_action "
        "language_de_action log_action go_new_action go_runs_action "
        "go_playground_action guide_action commands_action save_bundle_action "
        "about_action place_new_button place_runs_button place_playground_button "
        "sidebar_computers_button sidebar_preferences_button sidebar_guide_button",
    ),
    (
        ALL,
        "The playground chooses its models by itself.",
        "playground_original_button playground_original_demo_action "
        "playground_original_folder_action playground_original_gguf_action "
        "playground_pruned_button playground_pruned_folder_action "
        "playground_pruned_gguf_action playground_example_button_1 "
        "playground_example_button_2 playground_example_button_3",
    ),
    (
        WITHOUT_A_MODEL,
        "The ways to open a model, until one is chosen.",
        "empty_demo_button empty_folder_button empty_gguf_button empty_hub_button "
        "empty_sample_button",
    ),
    (
        WITH_A_MODEL,
        "The next job can be set up at any time, also during a run.",
        "model_change_button model_details_button use_sample_action "
        "details_back_button purpose_smaller_button purpose_faster_button "
        "purpose_text_button purpose_languages_button plan_folder_button "
        "quantize_only_button "
        "expert_button expert_close_button expert_reset_button "
        "model_advanced_button calibration_advanced_button pruning_advanced_button "
        "evaluation_advanced_button recovery_advanced_button export_advanced_button "
        "text_file_button validation_file_button more_file_button "
        "more_dataset_button preset_more_button preset_import_action "
        "preset_save_button protect_choose_button run_parent_button "
        "export_choose_button load_job_button save_job_button save_job_action "
        "queue_add_action sweep_action undo_action",
    ),
    (
        WITH_A_MODEL,
        "The picture of its layers.",
        "architecture_more_button architecture_enlarge_action "
        "architecture_png_action architecture_svg_action architecture_csv_action",
    ),
    (IN_PROGRESS, "Without a run, Start is enough.", "queue_add_button"),
    (
        {S.READY} | ENDED,
        "The engine does one thing at a time.",
        "start_button start_action preview_button diagnose_button",
    ),
    (
        {S.STARTING, S.RUNNING, S.PAUSED},
        "Pause; the same action resumes a paused run.",
        "pause_action",
    ),
    (
        {S.RUNNING, S.PAUSING, S.PAUSED},
        "A run can be finished once, and not before something is removed.",
        "stop_action",
    ),
    (
        IN_PROGRESS - {S.CANCELLING},
        "A run that is stopping can still be cancelled.",
        "cancel_action",
    ),
    (
        WITH_A_RUN,
        "A run has a report, whatever its outcome.",
        "report_html_action report_pdf_action",
    ),
    (
        {S.FINISHED, S.REOPENED},
        "The pruned model can be tried.",
        "playground_generate_button",
    ),
    (ENDED | {S.REOPENED}, "The run is a recent one.", "recent_clear_action"),
    (
        {S.FAILED},
        "The error bar.",
        "error_copy_button error_details_button error_dismiss_button",
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
    check(window, S.FINISHED)
    again = make_window()
    wait_until(qtbot, lambda: again.session.state.engine is Engine.READY)
    again.runs.open_run(Path(run_of(window).folder))
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


def enabled_buttons(window):
    """Return the names of the enabled buttons outside of the place Runs."""
    found = set()
    for _ in open_everything(window):
        for kind in BUTTONS:
            found |= {
                button.objectName()
                for button in window.findChildren(kind)
                if button.isVisible() and button.isEnabled() and is_of_interest(button)
            }
    return found - {"runs_new_button"}  # it is there until the folder has been read


def open_everything(window):
    """Open every section of Expert and every page, one after the other."""
    for step in Step:
        open_step(window, step)
        yield step
    yield from window_audit.pages(window)


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


def is_of_interest(button: QPushButton | QToolButton) -> bool:
    """Return whether a button has its own name and is not in the place Runs."""
    parent = button.parentWidget()
    while parent is not None:
        if isinstance(parent, RunsPlace):
            return False
        parent = parent.parentWidget()
    return has_own_name(button)
