"""The strip at the bottom stays low, whatever the plan says."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLabel, QMainWindow

from surgeon_gui.base.theme import GAP
from surgeon_gui.window.action_strip import ActionStrip
from surgeon_gui.window.menus import Menus
from tests.helpers.window_audit import settle
from tests.helpers.windows import find

LONG = "many words about a plan " * 20


@pytest.fixture
def strip(qtbot):
    window = QMainWindow()
    strip = ActionStrip(Menus(window).actions)
    for each in (window, strip):
        qtbot.addWidget(each)
    strip.show()
    return strip


def resize(strip, width):
    """Give the strip a width, and the height that it asks for, as the window does."""
    strip.resize(width, 10)
    settle()
    strip.resize(strip.sizeHint())
    settle()


def test_strip_has_three_lines_at_most(strip):
    for plan in ("", "a short plan", LONG):
        strip.show_plan(plan, "all details")
        resize(strip, 1280)
        label, bar = find(strip, "plan_label"), find(strip, "progress_bar")
        line = label.fontMetrics().lineSpacing()
        assert label.height() == (2 if plan is LONG else 1) * line
        assert strip.sizeHint().height() == strip.height()
        assert strip.height() <= 3 * line + bar.height() + 4 * GAP
        for part in (
            label,
            bar,
            find(strip, "start_button"),
            find(strip, "phase_label"),
        ):
            assert part.height() > 0
            assert strip.rect().contains(part.geometry())
    resize(strip, 640)
    start = find(strip, "start_button")
    assert label.height() == line  # above the buttons
    assert start.geometry().top() > label.geometry().bottom()


def test_long_plan_is_elided_and_has_its_details_as_tooltip(strip):
    strip.show_plan(LONG, "all <details>")
    resize(strip, 1280)
    label = find(strip, "plan_label")
    first, second = QLabel.text(label).splitlines()
    assert LONG.startswith(first)
    assert second.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert label.text() == LONG
    assert "all &lt;details&gt;" in label.toolTip()


@pytest.mark.parametrize("width", [920, 1024, 1160, 1280])
def test_usual_plan_is_not_elided(strip, width):
    plan = (
        "Next run: SmolLM2-135M-Instruct.Q8_0.gguf: 50 % in 5 shots, heads and "
        "neurons; 67.5 MB instead of 138.8 MB; about 12 min"
    )
    strip.show_plan(plan, "")
    resize(strip, width)
    shown = QLabel.text(find(strip, "plan_label"))
    assert " ".join(shown.replace("\xa0", " ").split()) == plan
