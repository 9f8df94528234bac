"""The application keeps numbers readable, and what nobody caught is told."""

from __future__ import annotations

import locale
import logging
import threading

from PySide6.QtCore import QtMsgType

from surgeon_gui import app
from surgeon_gui.app import ExceptionRelay
from tests.helpers.windows import TIMEOUT_MS, find


def test_numbers_have_a_point_whatever_the_system_says(qapp):
    assert locale.localeconv()["decimal_point"] == "."


def test_the_application_has_a_name_and_an_icon(qapp):
    assert qapp.applicationName() == "Surgeon"
    assert not qapp.windowIcon().isNull()


def test_an_exception_in_any_thread_is_shown_in_the_window(qtbot, window):
    relay = ExceptionRelay()
    relay.raised.connect(window.show_problem)

    def go_wrong():
        try:
            raise ZeroDivisionError("made up")
        except ZeroDivisionError as error:
            relay._on_exception(type(error), error, error.__traceback__)

    thread = threading.Thread(target=go_wrong)
    thread.start()
    thread.join()
    bar = find(window, "error_bar")
    qtbot.waitUntil(bar.isVisible, timeout=TIMEOUT_MS)
    assert "ZeroDivisionError: made up" in find(window, "error_message").text()
    assert "go_wrong" in find(window, "error_details").toPlainText()


def test_what_qt_says_is_logged(caplog):
    with caplog.at_level(logging.WARNING):
        app._on_qt_message(QtMsgType.QtWarningMsg, None, "odd")
    assert caplog.record_tuples == [("qt", logging.WARNING, "odd")]
