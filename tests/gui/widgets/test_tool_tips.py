"""Tooltips show the names of models and files as they are."""

import pytest
from PySide6.QtCore import QPoint
from PySide6.QtGui import QTextDocument
from PySide6.QtWidgets import QApplication, QToolTip, QWidget

from surgeon_gui.widgets.tool_tips import plain_tip


@pytest.mark.parametrize(
    "text",
    [
        "A model",
        "<b>bold</b> & <a href='http://a.example'>a link</a>",
        "two\nlines,  two spaces",
        "&lt;b&gt;",
    ],
)
def test_tip_shows_the_text_as_it_is(text):
    document = QTextDocument()
    document.setHtml(plain_tip(text))
    assert document.toPlainText() == text


def test_tip_keeps_units_beside_their_numbers():
    assert "95\N{NO-BREAK SPACE}% of" in plain_tip("95 % of")


def test_no_text_has_no_tip():
    assert plain_tip("") == ""


@pytest.mark.qt_log_ignore("does not support raise", extend=True)
def test_long_tip_wraps(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    text = "A long explanation of a setting. " * 20
    QToolTip.showText(QPoint(0, 0), plain_tip(text), parent)
    shown = [x for x in QApplication.topLevelWidgets() if x.inherits("QTipLabel")]
    assert len(shown) == 1
    assert shown[0].width() < parent.fontMetrics().horizontalAdvance(text) / 4
    QToolTip.hideText()
