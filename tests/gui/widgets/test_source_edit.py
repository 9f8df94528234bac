"""Source edits commit typed text after a pause and are not overwritten meanwhile."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest

from surgeon_gui.state.request import RequestKind
from surgeon_gui.widgets.source_edit import SourceEdit
from tests.helpers.windows import TIMEOUT_MS, close_window, find, open_window


@pytest.fixture
def line(qtbot):
    line = SourceEdit("model.source", "demo", "Bundled demo")
    qtbot.addWidget(line)
    line.heard = []
    line.edited.connect(line.heard.append)
    return line


def test_typing_emits_no_signal_before_a_pause(qtbot, line):
    with qtbot.waitSignal(line.edited):
        QTest.keyClicks(line, "/models/some")
    assert line.heard == ["/models/some"]


def test_show_value_does_not_overwrite_typed_text(line):
    for key in "/a/b":
        QTest.keyClicks(line, key)
        line.show_value("demo")
    assert line.text() == "/a/b"


def test_losing_focus_commits_text(line):
    QTest.keyClicks(line, "/a\r")
    assert line.heard == ["/a"]


def test_unchanged_line_emits_no_signal(line):
    line.show_value("demo")
    QTest.keyClicks(line, "\r")
    assert line.heard == []
    assert line.text() == "Bundled demo"
    assert line.value() == "demo"


def test_clear_button_emits_empty_value(line):
    line.show_clear_button()
    line.show_value("/a")
    line.findChild(QAction, "_q_qlineeditclearaction").trigger()
    assert line.heard == [""]


@pytest.mark.slow
def test_typed_path_becomes_the_model(qtbot, tmp_path):
    window = open_window(tmp_path / "runs")
    source = find(window, "model_source")
    folder = tmp_path / "model"
    folder.mkdir()
    QTest.keyClicks(source, str(folder))
    qtbot.waitUntil(lambda: window.session.state.config.model.source == str(folder))
    assert source.text() == str(folder)
    close_window(window)


def test_enter_inspects_unreadable_model_again(qtbot, window, tmp_path):
    folder = broken_model(qtbot, window, tmp_path)
    (folder / "broken").unlink()
    QTest.keyClick(find(window, "model_source"), Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.session.state.model is not None)


def test_choosing_unreadable_model_again_inspects_it_again(qtbot, window, tmp_path):
    folder = broken_model(qtbot, window, tmp_path)
    (folder / "broken").unlink()
    window.choose_model(str(folder))
    qtbot.waitUntil(lambda: window.session.state.model is not None)


def broken_model(qtbot, window, tmp_path):
    """Choose a model that the engine cannot read; return its folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "broken").touch()
    window.choose_model(str(folder))
    session = window.session
    qtbot.waitUntil(
        lambda: session.state.request(RequestKind.INSPECTION).error is not None,
        timeout=TIMEOUT_MS,
    )
    return folder
