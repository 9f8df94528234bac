"""Tooltips show the names of models and files as they are."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QTextDocument

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


def test_no_text_has_no_tip():
    assert plain_tip("") == ""
