"""The log keeps all lines, shows the lines that match its filters, and can be saved."""

import pytest
from PySide6.QtWidgets import QPlainTextEdit

from surgeon_engine.api.messages.events import Envelope, Failed, Level, Logged
from surgeon_engine.api.messages.run import Exported, Progressed, Stage, StageStarted
from surgeon_gui.state.log_lines import LogLine, log_lines
from surgeon_gui.window.log_view import LogView

LINES = [
    LogLine(1.0, Level.INFO, "Measuring"),
    LogLine(2.0, Level.WARNING, "Memory is low"),
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


def test_level_and_filter_hide_lines_and_the_shown_ones_are_saved(log, tmp_path):
    assert shown(log) == ["Measuring", "Memory is low", "It broke"]
    log.findChild(object, "log_filter_edit").setText("MEMORY")
    assert shown(log) == ["Memory is low"]
    log.findChild(object, "log_filter_edit").setText("")
    log.findChild(object, "log_level_combo").setCurrentIndex(1)
    assert shown(log) == ["Memory is low", "It broke"]
    log.append([LogLine(4.0, Level.INFO, "unseen"), LogLine(4.0, Level.ERROR, "seen")])
    assert shown(log)[-1] == "seen"
    log.save(tmp_path / "log.txt")
    assert "It broke" in (tmp_path / "log.txt").read_text()
    log.findChild(object, "log_level_combo").setCurrentIndex(0)
    assert "unseen" in shown(log)


def test_lines_are_filtered_after_the_keys_have_been_typed(qtbot, log):
    text = log.findChild(QPlainTextEdit, "log_text")
    qtbot.keyClicks(log.findChild(object, "log_filter_edit"), "mem")
    assert len(text.toPlainText().splitlines()) == 3
    qtbot.waitUntil(lambda: len(text.toPlainText().splitlines()) == 1)


def test_log_lines_skips_progress_events():
    events = [
        Progressed(Stage.CURVATURE, 1, 1, 2),
        StageStarted(Stage.CURVATURE, 1),
        Logged(Level.WARNING, "Careful."),
        Exported(
            "there", weight_bytes=4_200_000, tokens_compared=9, largest_difference=0
        ),
        Failed("Broken.", "Fix it."),
    ]
    lines = log_lines([Envelope("run-1", 1.0, event) for event in events])
    assert [(line.level, line.message) for line in lines] == [
        (Level.INFO, "Measuring what counts (shot 1)"),
        (Level.WARNING, "Careful."),
        (
            Level.INFO,
            "Exported and verified: there (masked, float32, 4.2 MB); : maximum logit "
            "difference 0, the top token is the same for 100 %",
        ),
        (Level.ERROR, "Broken. Fix it."),
    ]


def test_long_lines_do_not_scroll_times_and_levels_out_of_view(qtbot, log):
    long_line = LogLine(4.0, Level.INFO, "a long line " * 40)
    log.append([long_line])
    log.resize(400, 160)
    with qtbot.waitExposed(log):
        log.show()
    bar = log.findChild(QPlainTextEdit, "log_text").horizontalScrollBar()
    assert bar.maximum() > 0
    assert bar.value() == 0
    log.append([long_line] * 30)
    assert bar.value() == 0
