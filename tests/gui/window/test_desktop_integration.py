"""No sleep while a run works, and a word at its end for whoever looks elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading

import pytest
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from surgeon_gui.base import keep_awake
from surgeon_gui.base.keep_awake import KeepAwake
from surgeon_gui.state.run import Status
from surgeon_gui.window import notifications as notifying
from surgeon_gui.window.desktop_integration import DesktopIntegration
from surgeon_gui.window.notifications import Notifier
from tests.helpers.windows import (
    TIMEOUT_MS,
    click,
    load_and_wait,
    run_of,
    wait_for_status,
)


class Bed(QObject):
    """Stands for the desktop: notes who keeps it awake."""

    responded = Signal(str)

    def __init__(self, parent):
        super().__init__(parent)
        self.is_held = False
        self.log = []

    def hold(self):
        if not self.is_held:
            self.log.append("hold")
            self.is_held = True
            self.responded.emit("there is no lamp")

    def allow_sleep(self):
        if self.is_held:
            self.log.append("let go")
        self.is_held = False


class Town:
    """Stands for the notifier: notes what was told."""

    def __init__(self, is_wanted=True):
        self.is_wanted = is_wanted
        self.told = []

    def tell(self, title, words):
        self.told.append((title, words))


@pytest.fixture
def accompanied(qtbot, make_window):
    def make(*options, is_wanted=True):
        window = make_window(*options)
        bed, town = Bed(window), Town(is_wanted)
        companion = DesktopIntegration(window.session, window, bed, town)
        lines = []
        companion.told.connect(lambda batch: lines.extend(batch))
        load_and_wait(qtbot, window)
        window.start_run()
        return window, bed, town, lines

    return make


def test_the_computer_is_awake_while_the_run_works_and_may_sleep_in_a_pause(
    qtbot, accompanied
):
    window, bed, _, lines = accompanied("--pause", "0.02")
    assert bed.is_held
    wait_for_status(qtbot, window, Status.RUNNING)
    click(window, "pause_button")
    wait_for_status(qtbot, window, Status.PAUSED)
    assert not bed.is_held
    click(window, "pause_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    assert bed.log == ["hold", "let go", "hold", "let go"]
    assert len(lines) == 1  # told once in a run
    assert "may go to sleep" in lines[0].event.message
    assert "there is no lamp" in lines[0].event.message


def test_the_end_is_told_to_whoever_looks_elsewhere(qtbot, accompanied):
    window, _, town, _ = accompanied()
    wait_for_status(qtbot, window, Status.FINISHED)
    ((title, words),) = town.told
    assert title == "Surgeon"
    assert "parameters remain" in words


def test_a_failure_is_told_with_its_reason(qtbot, accompanied):
    window, _, town, _ = accompanied("--mishap", "fail", "--at", "update")
    wait_for_status(qtbot, window, Status.FAILED)
    ((_, words),) = town.told
    assert "The run has failed. The GPU has too little memory." in words


def test_nothing_is_told_to_whoever_looks_at_the_window(qtbot, accompanied):
    window, _, town, _ = accompanied(is_wanted=False)
    wait_for_status(qtbot, window, Status.FINISHED)
    assert not town.told


def test_nothing_is_told_of_a_cancelled_run(qtbot, accompanied):
    window, bed, town, _ = accompanied("--pause", "0.02")
    click(window, "cancel_button")
    wait_for_status(qtbot, window, Status.CANCELLED)
    assert not town.told
    assert not bed.is_held


def test_a_window_without_a_desktop_asks_nobody(window):
    assert keep_awake.sleep_inhibitor() is None
    assert run_of(window).status is Status.IDLE


def test_nobody_waits_for_a_desktop_that_takes_its_time(qtbot):
    may_answer, allows_sleep = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def slow():
        may_answer.wait()
        yield ""
        allows_sleep.set()

    awake = KeepAwake(slow)
    answers = []
    awake.responded.connect(answers.append)
    awake.hold()
    awake.hold()
    assert awake.holds
    assert answers == []
    with qtbot.waitSignal(awake.responded, timeout=TIMEOUT_MS):
        may_answer.set()
    assert answers == [""]
    awake.allow_sleep()
    assert not awake.holds
    assert allows_sleep.wait(10)


def test_without_wakepy_it_is_said_that_the_computer_may_sleep(monkeypatch):
    monkeypatch.setitem(sys.modules, "wakepy", None)
    with keep_awake.inhibit_sleep() as reason:
        assert "wakepy is not installed" in reason


def test_a_desktop_that_refuses_is_no_error(monkeypatch):
    class Mode(contextlib.nullcontext):
        active = False

        def __enter__(self):
            return self

    class Keep:
        @staticmethod
        def running(on_fail):
            assert on_fail == "pass"
            return Mode()

    module = type(sys)("wakepy")
    module.keep = Keep
    monkeypatch.setitem(sys.modules, "wakepy", module)
    with keep_awake.inhibit_sleep() as reason:
        assert "does not support it" in reason


def test_without_messages_of_the_desktop_the_window_asks_for_attention(
    qtbot, monkeypatch
):
    window = QWidget()
    qtbot.addWidget(window)
    asked = []
    monkeypatch.setattr(notifying, "has_messages", lambda: False)
    monkeypatch.setattr(QApplication, "alert", asked.append)
    Notifier(window).tell("Surgeon", "The run has finished.")
    assert asked == [window]


def test_with_them_a_message_is_shown(qtbot, monkeypatch):
    window = QWidget()
    qtbot.addWidget(window)
    shown = []
    monkeypatch.setattr(notifying, "has_messages", lambda: True)
    monkeypatch.setattr(QSystemTrayIcon, "show", lambda tray: None)
    monkeypatch.setattr(
        QSystemTrayIcon, "showMessage", lambda tray, *words: shown.append(words[:2])
    )
    notifier = Notifier(window)
    assert notifier.is_wanted  # it has never been shown
    for words in ("one", "two"):
        notifier.tell("Surgeon", words)
    assert shown == [("Surgeon", "one"), ("Surgeon", "two")]
    assert len(notifier.findChildren(QSystemTrayIcon)) == 1
