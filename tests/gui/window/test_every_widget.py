"""All widgets of the window: no text is cut off, all have names, none overlap.

Language and scale are fixed per process, so each combination runs in its own process.
"""

import subprocess
import sys

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from surgeon_gui.text.problems import Step
from surgeon_gui.widgets.controls import line_label
from surgeon_gui.widgets.tool_tips import plain_tip
from tests.helpers import window_audit
from tests.helpers.windows import find, load_and_wait, open_step

NEVER = Qt.ScrollBarPolicy.ScrollBarAlwaysOff


@pytest.mark.slow
def test_no_widget_is_cut_off_unnamed_or_overlapping():
    """German texts are the longest; `tests/helpers/window_audit.py` takes others."""
    options = ("--language", "de", "--size", "1024x700")
    result = subprocess.run(
        [sys.executable, "-m", "tests.helpers.window_audit", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_tab_order_goes_down_each_page(qtbot, window):
    load_and_wait(qtbot, window)
    for step in Step:
        open_step(window, step)
        window_audit.settle()
        card = find(window, f"step_{step.value}_header").parentWidget()
        assert window_audit.out_of_order(card) == []


@pytest.fixture
def page(qtbot):
    page = QWidget()
    qtbot.addWidget(page)
    column = QVBoxLayout(page)
    column.addWidget(line_label("A label"))
    column.addWidget(QPushButton("A button", toolTip=plain_tip("Does something.")))
    page.show()
    return page


def test_audit_finds_each_kind_of_problem(page):
    label, button = page.findChild(QLabel), page.findChild(QPushButton)
    assert window_audit.problems(page) == []
    assert window_audit.out_of_order(page) == []
    tip = button.toolTip()
    button.setToolTip("")
    page.layout().addWidget(QLineEdit())
    window_audit.settle()
    assert len(window_audit.nameless(page)) == 3  # the line edit lacks both
    label.setTextFormat(Qt.TextFormat.AutoText)
    button.setToolTip("<b>Does something.</b>")
    assert len(window_audit.formatted(page)) == 2
    button.setToolTip(tip)
    area = QScrollArea(horizontalScrollBarPolicy=NEVER, widgetResizable=True)
    area.setWidget(QLabel("A label", minimumWidth=400))
    area.setFixedWidth(300)
    page.layout().addWidget(area)
    window_audit.settle()
    assert len(window_audit.out_of_reach(page)) == 1
    page.layout().insertWidget(0, QPushButton("Another"))
    window_audit.settle()
    assert len(window_audit.out_of_order(page)) == 1
    button.move(label.pos())
    assert window_audit.overlapping(page)
    label.setFixedWidth(10)
    button.setFixedHeight(5)
    assert len(window_audit.cut_texts(page)) == 2
