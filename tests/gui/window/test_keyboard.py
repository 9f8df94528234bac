"""Tab reaches every control in visual order, and the focus stays in its group."""

import itertools

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QWidget

from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import Step
from surgeon_gui.views.steps.structure_tiles import StructureTiles
from tests.helpers import window_audit
from tests.helpers.windows import find, open_place, open_step, run_until


@pytest.fixture
def busy_window(qtbot, window):
    """Return a wide window after a run, with the drawer Expert open."""
    window.resize(1600, 900)
    run_until(qtbot, window, Status.FINISHED)
    open_place(window, "new")
    find(window, "expert_button").setChecked(True)
    window_audit.settle()
    return window


def is_one_of_several(widget):
    """Return whether arrow keys select it: Tab reaches the checked one."""
    is_tile = isinstance(widget.parent(), StructureTiles)
    return is_tile or getattr(widget, "group", lambda: None)() is not None


def usable_controls(window):
    return [
        widget
        for widget in window_audit.controls(window)
        if widget.isVisible() and widget.isEnabled() and not is_one_of_several(widget)
    ]


def tab_order(window, first):
    """Return the widgets that Tab reaches, from `first` on."""
    first.setFocus()
    reached = []
    while (widget := window.focusWidget()) is not None and widget not in reached:
        reached.append(widget)
        window.focusNextChild()
    return reached


def test_tab_reaches_every_control_of_each_place_downwards(busy_window):
    first, sidebar = find(busy_window, "place_new_button"), find(busy_window, "sidebar")
    for place in ("new", "runs", "playground"):
        open_place(busy_window, place)
        window_audit.settle()
        reached = tab_order(busy_window, first)
        is_beside = [sidebar.isAncestorOf(widget) for widget in reached]
        assert [each for each, _ in itertools.groupby(is_beside)] == [True, False]
        missed = set(usable_controls(busy_window)) - set(reached)
        assert [widget.objectName() for widget in missed] == []
        cards = [f for f in busy_window.findChildren(QFrame) if f.property("card")]
        for part in (*cards, sidebar):
            if part.isVisible():
                assert window_audit.out_of_order(part) == []


def test_tab_reaches_start_before_the_settings_of_expert(busy_window):
    reached = tab_order(busy_window, find(busy_window, "place_new_button"))
    names = [each.objectName() for each in reached]
    before, after = names.index("start_button"), names.index("expert_search_edit")
    assert before < after
    assert {*names[:after]} >= {"pruning_size", "expert_button", "plan_folder_button"}


def test_disabled_control_keeps_the_place_of_the_focus(busy_window):
    """Only Tab leads on, to the control after it."""
    order = tab_order(busy_window, find(busy_window, "place_new_button"))
    after = dict(itertools.pairwise([*order, order[0]]))
    for widget in usable_controls(busy_window):
        widget.setFocus()
        widget.setEnabled(False)
        assert busy_window.focusWidget() is None, widget.objectName()
        busy_window.focusNextChild()
        assert busy_window.focusWidget() is after[widget], widget.objectName()
        widget.setFocus()
        widget.setEnabled(True)


def test_focus_goes_on_after_the_disabled_widget_is_deleted(qtbot, window):
    made = QWidget(find(window, "new_page").parentWidget())
    made.setFocus()
    made.setEnabled(False)
    made.deleteLater()
    window_audit.settle()
    window.focusNextChild()
    assert window.focusWidget() is not None


def test_keys_reach_and_open_each_section_of_expert(qtbot, busy_window):
    search = find(busy_window, "expert_search_edit")
    headers = [find(busy_window, f"step_{step.value}_header") for step in Step]
    open_step(busy_window, Step.TARGET)  # the one used last
    assert set(headers) <= set(tab_order(busy_window, search))
    for header in headers:
        header.setChecked(False)
        header.setFocus()
        qtbot.keyClick(header, Qt.Key.Key_Return)
        assert [each for each in headers if each.isChecked()] == [header]
