"""All widgets of the window: no text is cut off, all have names, none overlap.

Language and scale are fixed per process, so each combination runs in its own process.
"""

from __future__ import annotations

import os
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
from tests.helpers.windows import find, load_and_wait

NEVER = Qt.ScrollBarPolicy.ScrollBarAlwaysOff


@pytest.mark.parametrize(
    ("scale", "options"),
    [
        pytest.param(
            "1", ("--language", "de", "--size", "1024x700"), marks=pytest.mark.slow
        ),
        pytest.param("1", ("--size", "1024x700"), marks=pytest.mark.thorough),
        # A screen of 1920 x 1080 pixels.
        pytest.param("2", ("--size", "960x540"), marks=pytest.mark.thorough),
        pytest.param(
            "1",
            ("--theme", "dark", "--size", "1920x1080"),
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["german", "1024 x 700", "scale 2", "dark and wide"],
)
def test_no_widget_is_cut_off_unnamed_or_overlapping(scale, options):
    result = subprocess.run(
        [sys.executable, "-m", "tests.helpers.window_audit", *options],
        env={**os.environ, "QT_SCALE_FACTOR": scale},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr == ""


@pytest.mark.parametrize("step", Step)
def test_tab_order_goes_down_the_page(qtbot, window, step):
    load_and_wait(qtbot, window)
    window.open_step(step)
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


def test_problems_of_a_correct_page_are_empty(page):
    assert window_audit.problems(page) == []


def test_cut_texts_finds_cut_off_texts(page):
    page.findChild(QLabel).setFixedWidth(10)
    page.findChild(QPushButton).setFixedHeight(5)
    assert len(window_audit.cut_texts(page)) == 2


def test_nameless_finds_missing_names_and_tooltips(page):
    page.findChild(QPushButton).setToolTip("")
    page.layout().addWidget(QLineEdit())
    window_audit.settle()
    assert len(window_audit.nameless(page)) == 3  # the line edit lacks both


def test_formatted_finds_text_that_may_be_html(page):
    page.findChild(QLabel).setTextFormat(Qt.TextFormat.AutoText)
    page.findChild(QPushButton).setToolTip("<b>Does something.</b>")
    assert len(window_audit.formatted(page)) == 2


def test_overlapping_finds_overlapping_widgets(page):
    window_audit.settle()
    page.findChild(QPushButton).move(page.findChild(QLabel).pos())
    assert len(window_audit.overlapping(page)) == 1


def test_out_of_reach_finds_content_that_cannot_be_scrolled_to(page):
    area = QScrollArea(horizontalScrollBarPolicy=NEVER, widgetResizable=True)
    area.setWidget(QLabel("A label", minimumWidth=400))
    area.setFixedWidth(300)
    page.layout().addWidget(area)
    window_audit.settle()
    assert len(window_audit.out_of_reach(page)) == 1


def test_out_of_order_finds_a_tab_order_that_goes_up(page):
    second = QPushButton("Another")
    page.layout().insertWidget(0, second)
    window_audit.settle()
    assert len(window_audit.out_of_order(page)) == 1
