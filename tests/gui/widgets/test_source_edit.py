"""Source edits commit typed text after a pause and are not overwritten meanwhile."""

from functools import partial

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest

from surgeon_gui.state.request import RequestKind
from surgeon_gui.widgets.source_edit import SourceEdit
from tests.helpers.widget_queries import is_on, shown
from tests.helpers.windows import find, wait_until


@pytest.fixture
def line(qtbot):
    line = SourceEdit("model.source", "demo", "Bundled demo")
    qtbot.addWidget(line)
    line.heard = []
    line.edited.connect(line.heard.append)
    return line


def test_typed_text_is_emitted_after_a_pause_and_not_overwritten(qtbot, line):
    with qtbot.waitSignal(line.edited):
        for key in "/a/b":
            QTest.keyClicks(line, key)
            line.show_value("demo")
    assert line.heard == [line.text()] == ["/a/b"]


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


@pytest.mark.parametrize("is_entered", [False, True])
def test_unreadable_model_is_inspected_again_once_it_is_chosen_again(
    qtbot, window, tmp_path, is_entered
):
    folder, source = tmp_path / "model", find(window, "model_source")
    folder.mkdir()
    (folder / "broken").touch()
    state = partial(getattr, window.session, "state")
    QTest.keyClicks(source, str(folder))
    qtbot.waitUntil(lambda: state().config.model.source == str(folder))
    wait_until(qtbot, lambda: state().request(RequestKind.INSPECTION).error is not None)
    assert shown(window, "model_problem")
    assert not is_on(window, "start_button")
    (folder / "broken").unlink()
    if is_entered:
        QTest.keyClick(source, Qt.Key.Key_Return)
    else:
        window.session.draft.choose_model(str(folder))
    wait_until(qtbot, lambda: state().model is not None)
