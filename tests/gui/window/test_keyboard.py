"""Tab reaches every control in visual order, and the focus stays in its group."""

from __future__ import annotations

import itertools

import pytest
from PySide6.QtWidgets import QDockWidget, QFrame, QRadioButton, QWidget

from surgeon_gui.state.run import Status
from surgeon_gui.views.steps.structure_tiles import StructureTiles
from surgeon_gui.window.central_tabs import CentralTabs
from tests.helpers import window_audit
from tests.helpers.windows import find, find_type, open_tab, run_until

# From left to right, then down.
GROUPS = ("step_panel", "center_tabs", "runs_dock", "log_dock", "action_strip")


@pytest.fixture
def busy_window(qtbot, window):
    """Return a wide window after a run, with all docks open."""
    window.resize(1600, 900)
    run_until(qtbot, window, Status.FINISHED)
    for dock in window.findChildren(QDockWidget):
        dock.show()
    window_audit.settle()
    return window


def group_of(window, widget):
    return next(name for name in GROUPS if find(window, name).isAncestorOf(widget))


def is_one_of_several(widget):
    """Return whether arrow keys select it: Tab reaches the checked one."""
    is_choice = isinstance(widget, QRadioButton)
    return is_choice or isinstance(widget.parent(), StructureTiles)


def usable_controls(window):
    return [
        widget
        for widget in window_audit.controls(window)
        if widget.isVisible() and widget.isEnabled() and not is_one_of_several(widget)
    ]


def test_tab_reaches_every_control_of_each_tab_group_by_group_downwards(busy_window):
    first = find(busy_window, "step_model_header")
    for tab in find_type(busy_window, CentralTabs).names:
        open_tab(busy_window, tab)
        window_audit.settle()
        reached = window_audit.tab_order(busy_window, first)
        groups = [group_of(busy_window, widget) for widget in reached]
        assert tuple(name for name, _ in itertools.groupby(groups)) == GROUPS
        missed = set(usable_controls(busy_window)) - set(reached)
        assert [widget.objectName() for widget in missed] == []
        cards = [f for f in busy_window.findChildren(QFrame) if f.property("card")]
        docks = busy_window.findChildren(QDockWidget)
        for part in (*cards, *docks, find(busy_window, "action_strip")):
            if part.isVisible():
                assert window_audit.out_of_order(part) == []


def test_disabled_control_keeps_the_place_of_the_focus(busy_window):
    """Only Tab leads on, to the control after it."""
    order = window_audit.tab_order(busy_window, find(busy_window, "step_model_header"))
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
    made = QWidget(find(window, "step_panel"))
    made.setFocus()
    made.setEnabled(False)
    made.deleteLater()
    window_audit.settle()
    window.focusNextChild()
    assert window.focusWidget() is not None
