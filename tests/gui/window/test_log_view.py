"""The log keeps everything, shows what passes its filters, and can be taken along."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QPlainTextEdit

from surgeon_engine.api.messages.events import Envelope, Failed, Level, Logged
from surgeon_engine.api.messages.run import Progressed, Stage, StageStarted
from surgeon_gui.state.log_lines import LogLine, log_lines
from surgeon_gui.window.log_view import LogView

LINES = [
    LogLine(1.0, Level.INFO, "Measuring"),
    LogLine(2.0, Level.WARNING, "Memory is short"),
    LogLine(3.0, Level.ERROR, "It broke"),
]


@pytest.fixture
def log(qtbot):
    view = LogView()
    qtbot.addWidget(view)
    view.append(LINES)
    return view


def shown(log):
    return [line.split(maxsplit=2)[2] for line in log.shown_text().splitlines()]


def test_everything_is_shown_at_first(log):
    assert shown(log) == ["Measuring", "Memory is short", "It broke"]


def test_the_level_hides_what_is_less_serious(log):
    log.findChild(object, "log_level_combo").setCurrentIndex(1)
    assert shown(log) == ["Memory is short", "It broke"]
    log.append([LogLine(4.0, Level.INFO, "unseen"), LogLine(4.0, Level.ERROR, "seen")])
    assert shown(log)[-1] == "seen"
    log.findChild(object, "log_level_combo").setCurrentIndex(0)
    assert "unseen" in shown(log)


def test_the_filter_hides_what_does_not_contain_it(log):
    log.findChild(object, "log_filter_edit").setText("MEMORY")
    assert shown(log) == ["Memory is short"]


def test_what_is_shown_is_saved(log, tmp_path):
    log.save(tmp_path / "log.txt")
    assert "It broke" in (tmp_path / "log.txt").read_text()


def test_only_events_worth_reading_become_lines():
    events = [
        Progressed(Stage.CURVATURE, 1, 1, 2),
        StageStarted(Stage.CURVATURE, 1),
        Logged(Level.WARNING, "Careful."),
        Failed("Broken.", "Mend it."),
    ]
    lines = log_lines([Envelope("run-1", 1.0, event) for event in events])
    assert [(line.level, line.message) for line in lines] == [
        (Level.INFO, "Shot 1: measuring curvature"),
        (Level.WARNING, "Careful."),
        (Level.ERROR, "Broken. Mend it."),
    ]


def test_times_and_levels_are_in_sight_however_long_the_lines(qtbot, log):
    long = LogLine(4.0, Level.INFO, "a long line " * 40)
    log.append([long])
    log.resize(400, 160)
    with qtbot.waitExposed(log):
        log.show()
    across = log.findChild(QPlainTextEdit, "log_text").horizontalScrollBar()
    assert across.maximum() > 0
    assert across.value() == 0
    log.append([long] * 30)
    assert across.value() == 0
