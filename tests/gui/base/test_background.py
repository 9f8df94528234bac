"""Work beside the window: its result arrives, or its failure; it can be waited for."""

from __future__ import annotations

import threading

import pytest
from PySide6.QtCore import QObject

from surgeon_gui.base.background import Background


@pytest.fixture
def background(qapp):
    owner = QObject()
    yield Background(owner)
    owner.deleteLater()


def test_the_result_arrives_in_the_thread_of_the_window(qtbot, background):
    found = []

    def then(result):
        found.append((result, threading.current_thread()))

    background.start(threading.current_thread, then)
    qtbot.waitUntil(lambda: bool(found))
    ((worker, teller),) = found
    assert worker is not teller
    assert teller is threading.main_thread()


def test_work_that_raises_is_told_to_the_hook_and_to_whoever_asked(
    qtbot, background, monkeypatch
):
    raised, failed = [], []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    background.start(lambda: 1 / 0, failed.append, lambda: failed.append("no"))
    qtbot.waitUntil(lambda: bool(failed))
    background.finish()  # the hook is asked when the thread has told it
    assert failed == ["no"]
    assert raised[0].exc_type is ZeroDivisionError


def test_who_waits_for_the_work_finds_it_done(background):
    go_on, done = threading.Event(), []

    def work():
        go_on.wait()
        done.append(True)

    background.start(work, lambda result: None)
    threading.Timer(0.05, go_on.set).start()
    background.finish()
    assert done
