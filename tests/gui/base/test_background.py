"""Background work: delivery of results and failures, and waiting for the end."""

import threading

import pytest
import shiboken6
from PySide6.QtCore import QObject

from surgeon_gui.base.background import Background


@pytest.fixture
def background(qapp):
    owner = QObject()
    yield Background(owner)
    owner.deleteLater()


def test_result_is_delivered_in_main_thread(qtbot, background):
    found = []

    def on_done(result):
        found.append((result, threading.current_thread()))

    background.start(threading.current_thread, on_done)
    qtbot.waitUntil(lambda: bool(found))
    ((worker, receiver),) = found
    assert worker is not receiver
    assert receiver is threading.main_thread()


def test_exception_reaches_hook_and_on_failed(qtbot, background, monkeypatch):
    raised, failed = [], []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    background.start(lambda: 1 / 0, failed.append, lambda: failed.append("no"))
    qtbot.waitUntil(lambda: bool(failed))
    background.finish()  # the thread calls the hook after the signal
    assert failed == ["no"]
    assert raised[0].exc_type is ZeroDivisionError


def test_finish_waits_for_work(background):
    release, done = threading.Event(), []

    def work():
        release.wait()
        done.append(True)

    background.start(work, lambda result: None)
    threading.Timer(0.05, release.set).start()
    background.finish()
    assert done


def test_work_that_outlives_qt_ends_silently(qapp, monkeypatch):
    raised, release = [], threading.Event()
    monkeypatch.setattr(threading, "excepthook", raised.append)
    background = Background(QObject())
    background.start(release.wait, lambda result: None)
    shiboken6.delete(background._relay)  # as when the application ends
    release.set()
    background.finish()
    assert raised == []
