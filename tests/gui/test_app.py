"""Locale of the application, unhandled exceptions and Qt messages."""

import locale
import logging
import sys
import threading

from PySide6.QtCore import QtMsgType

from surgeon_gui import app
from surgeon_gui.app import ExceptionRelay
from tests.helpers.windows import TIMEOUT_MS, find


def test_c_locale_has_decimal_point(qapp):
    assert locale.localeconv()["decimal_point"] == "."


def test_application_has_name_and_icon(qapp):
    assert qapp.applicationName() == "Surgeon"
    assert not qapp.windowIcon().isNull()


def test_exception_in_thread_is_shown_in_window(qtbot, window, monkeypatch):
    for module in (sys, threading):  # restore the hooks after the test
        monkeypatch.setattr(module, "excepthook", module.excepthook)
    relay = ExceptionRelay()
    relay.raised.connect(window.show_problem)
    relay.install()

    def fail():
        raise ZeroDivisionError("fake")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    bar = find(window, "error_bar")
    qtbot.waitUntil(bar.isVisible, timeout=TIMEOUT_MS)
    assert "ZeroDivisionError: fake" in find(window, "error_message").text()
    assert "fail" in find(window, "error_details").toPlainText()


def test_qt_messages_are_logged(qapp, caplog, monkeypatch):
    handlers = []
    monkeypatch.setattr(app, "qInstallMessageHandler", handlers.append)
    monkeypatch.setattr(app, "QApplication", lambda arguments: qapp)
    monkeypatch.setattr(app, "prepare", lambda application: None)
    app.make_application([])
    (handle,) = handlers
    with caplog.at_level(logging.WARNING):
        handle(QtMsgType.QtWarningMsg, None, "odd")
    assert caplog.record_tuples == [("qt", logging.WARNING, "odd")]
