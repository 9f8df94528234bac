"""A walk through the whole window: nothing cut, nothing nameless, nothing on top.

Language and scale hold for a whole process, so each walk has one of its own.
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

from surgeon_gui.state.app import Step
from tests.helpers import walking
from tests.helpers.windows import find, load_and_wait

NEVER = Qt.ScrollBarPolicy.ScrollBarAlwaysOff


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "options"),
    [
        ("1", ()),
        ("1", ("--language", "de")),
        ("2", ()),
        ("1", ("--theme", "dark", "--size", "1920x1080")),
    ],
    ids=["english", "german", "twice as large", "dark and wide"],
)
def test_nothing_is_cut_or_nameless_or_on_top_of_something(scale, options):
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.walking", *options],
        env={**os.environ, "QT_SCALE_FACTOR": scale},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


@pytest.mark.parametrize("step", Step)
def test_tab_goes_down_a_page(qtbot, window, step):
    load_and_wait(qtbot, window)
    window.open_step(step)
    walking.settle()
    card = find(window, f"step_{step.value}_header").parentWidget()
    assert walking.out_of_order(card) == []


@pytest.fixture
def page(qtbot):
    page = QWidget()
    qtbot.addWidget(page)
    column = QVBoxLayout(page)
    column.addWidget(QLabel("A label"))
    column.addWidget(QPushButton("A button", toolTip="Does something."))
    page.show()
    return page


def test_the_walk_finds_nothing_on_a_page_that_is_right(page):
    assert walking.problems(page) == []


def test_the_walk_finds_what_is_cut(page):
    page.findChild(QLabel).setFixedWidth(10)
    page.findChild(QPushButton).setFixedHeight(5)
    assert len(walking.cut_texts(page)) == 2


def test_the_walk_finds_what_has_no_name(page):
    page.findChild(QPushButton).setToolTip("")
    page.layout().addWidget(QLineEdit())
    walking.settle()
    assert len(walking.nameless(page)) == 3  # the line has neither


def test_the_walk_finds_what_lies_on_something(page):
    walking.settle()
    page.findChild(QPushButton).move(page.findChild(QLabel).pos())
    assert len(walking.overlapping(page)) == 1


def test_the_walk_finds_what_is_out_of_reach(page):
    area = QScrollArea(horizontalScrollBarPolicy=NEVER, widgetResizable=True)
    area.setWidget(QLabel("A label", minimumWidth=400))
    area.setFixedWidth(300)
    page.layout().addWidget(area)
    walking.settle()
    assert len(walking.out_of_reach(page)) == 1


def test_the_walk_finds_where_tab_goes_back_up(page):
    second = QPushButton("Another")
    page.layout().insertWidget(0, second)
    walking.settle()
    assert len(walking.out_of_order(page)) == 1
