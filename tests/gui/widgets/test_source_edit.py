"""A path can be typed, key by key, whatever the window draws meanwhile."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest

from surgeon_gui.state.request import RequestKind
from surgeon_gui.widgets.source_edit import SourceEdit
from tests.helpers.windows import TIMEOUT_MS, find, open_window
from tests.helpers.windows import close_window as close


@pytest.fixture
def line(qtbot):
    line = SourceEdit("model.source", "demo", "Bundled demo")
    qtbot.addWidget(line)
    line.heard = []
    line.edited.connect(line.heard.append)
    return line


def test_half_a_path_is_not_told(qtbot, line):
    with qtbot.waitSignal(line.edited):
        QTest.keyClicks(line, "/models/some")
    assert line.heard == ["/models/some"]


def test_typing_is_not_overwritten_by_a_redraw(line):
    for key in "/a/b":
        QTest.keyClicks(line, key)
        line.show_value("demo")
    assert line.text() == "/a/b"


def test_leaving_the_line_tells_at_once(line):
    QTest.keyClicks(line, "/a\r")
    assert line.heard == ["/a"]


def test_a_line_left_as_it_was_tells_nothing(line):
    line.show_value("demo")
    QTest.keyClicks(line, "\r")
    assert line.heard == []
    assert line.text() == "Bundled demo"
    assert line.value() == "demo"


def test_the_cross_empties_the_line(line):
    line.show_clear_button()
    line.show_value("/a")
    line.findChild(QAction, "_q_qlineeditclearaction").trigger()
    assert line.heard == [""]


def test_a_path_typed_into_the_window_is_the_model(qtbot, tmp_path):
    window = open_window(tmp_path / "runs")
    source = find(window, "model_source")
    folder = tmp_path / "model"
    folder.mkdir()
    QTest.keyClicks(source, str(folder))
    qtbot.waitUntil(lambda: window.session.state.config.model.source == str(folder))
    assert source.text() == str(folder)
    close(window)


def test_enter_looks_again_at_a_model_that_could_not_be_read(qtbot, window, tmp_path):
    folder = broken_model(qtbot, window, tmp_path)
    (folder / "broken").unlink()
    QTest.keyClick(find(window, "model_source"), Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.session.state.model is not None)


def test_a_model_that_could_not_be_read_is_read_again_when_it_is_chosen_again(
    qtbot, window, tmp_path
):
    folder = broken_model(qtbot, window, tmp_path)
    (folder / "broken").unlink()
    window.choose_model(str(folder))
    qtbot.waitUntil(lambda: window.session.state.model is not None)


def broken_model(qtbot, window, tmp_path):
    """A folder that the engine has refused."""
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
