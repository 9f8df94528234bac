"""Sleep is inhibited during a run, and a notification is shown when it ends."""

import contextlib
import sys
import threading
from dataclasses import replace

import pytest
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from surgeon_engine.api.config.pruning import Method
from surgeon_gui.base import keep_awake
from surgeon_gui.base.keep_awake import KeepAwake
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.state.run import Status
from surgeon_gui.window import desktop_integration
from surgeon_gui.window.desktop_integration import DesktopIntegration, Notifier
from tests.helpers.fake_engine import FAILURE
from tests.helpers.windows import (
    TIMEOUT_MS,
    cancel_run,
    click,
    find_type,
    load_and_wait,
    trigger,
    wait_for_status,
    wait_until,
)

pytestmark = pytest.mark.slow


class FakeKeepAwake(QObject):
    """Record when sleep is inhibited."""

    responded = Signal(str)

    def __init__(self, parent):
        super().__init__(parent)
        self.is_held = False
        self.log = []

    def hold(self):
        if not self.is_held:
            self.log.append("hold")
            self.is_held = True
            self.responded.emit("not supported")

    def allow_sleep(self):
        if self.is_held:
            self.log.append("allow_sleep")
        self.is_held = False


class FakeNotifier:
    """Record the notifications."""

    def __init__(self, is_needed=True):
        self.is_needed = is_needed
        self.shown = []

    def notify(self, title, message):
        self.shown.append((title, message))


@pytest.fixture
def integrate(monkeypatch):
    """Return a function that integrates a window into a desktop that only records."""

    def integrate(window, keep_awake, notifier):
        for kind, fake in (("KeepAwake", keep_awake), ("Notifier", notifier)):
            monkeypatch.setattr(desktop_integration, kind, lambda *_, fake=fake: fake)
        queue = find_type(window, QueueController)
        return DesktopIntegration(window.session, queue, window)

    return integrate


@pytest.fixture
def start_run(qtbot, make_window, integrate):
    def start(*options, is_needed=True):
        window = make_window(*options)
        keep_awake, notifier = FakeKeepAwake(window), FakeNotifier(is_needed)
        integration = integrate(window, keep_awake, notifier)
        lines = []
        integration.noted.connect(lines.append)
        load_and_wait(qtbot, window)
        window.start_run()
        return window, keep_awake, notifier, lines

    return start


def test_run_inhibits_sleep_unless_paused_and_notifies_at_its_end(qtbot, start_run):
    window, keep_awake, notifier, lines = start_run("--pause", "0.01")
    assert keep_awake.is_held
    wait_for_status(qtbot, window, Status.RUNNING)
    trigger(window, "pause_action")
    wait_for_status(qtbot, window, Status.PAUSED)
    assert not keep_awake.is_held
    trigger(window, "pause_action")
    wait_for_status(qtbot, window, Status.FINISHED)
    assert keep_awake.log == ["hold", "allow_sleep", "hold", "allow_sleep"]
    assert len(lines) == 1  # logged once per run
    assert "not supported" in lines[0]
    ((title, message),) = notifier.shown
    assert (title, bool(message)) == ("Surgeon", True)


def test_failed_run_shows_a_notification_with_the_reason(qtbot, start_run):
    window, _, notifier, _ = start_run("--mishap", "fail", "--at", "update")
    wait_for_status(qtbot, window, Status.FAILED)
    ((_, message),) = notifier.shown
    assert FAILURE in message


def test_cancelled_run_and_active_window_show_no_notification(qtbot, start_run):
    window, keep_awake, notifier, _ = start_run("--pause", "0.002")
    cancel_run(window)
    wait_for_status(qtbot, window, Status.CANCELLED)
    assert not notifier.shown
    assert not keep_awake.is_held
    notifier.is_needed = False
    window.start_run()
    wait_for_status(qtbot, window, Status.FINISHED)
    assert not notifier.shown


def test_queue_inhibits_sleep_until_its_end_and_notifies_once(
    qtbot, make_window, integrate
):
    window = make_window("--fail-method", "magnitude")
    awake, notifier = FakeKeepAwake(window), FakeNotifier()
    integrate(window, awake, notifier)
    load_and_wait(qtbot, window)
    click(window, "queue_add_button")
    pruning = window.session.state.config.pruning
    window.session.draft.edit_part(replace(pruning, method=Method.MAGNITUDE))
    click(window, "queue_add_button")
    window.session.draft.edit_part(pruning)
    click(window, "queue_add_button")
    click(window, "queue_start_button")
    assert awake.is_held
    wait_until(qtbot, lambda: notifier.shown)
    assert awake.log == ["hold", "allow_sleep"]  # not between two runs
    _, message = notifier.shown[0]
    assert "2 runs" in message and "1 failed" in message
    qtbot.wait(50)
    assert len(notifier.shown) == 1


def test_offscreen_platform_does_not_inhibit_sleep(qapp):
    assert keep_awake.sleep_inhibitor() is None


def test_hold_does_not_wait_for_a_slow_desktop(qtbot):
    may_respond, allows_sleep = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def slow():
        may_respond.wait()
        yield ""
        allows_sleep.set()

    awake = KeepAwake(slow)
    responses = []
    awake.responded.connect(responses.append)
    awake.hold()
    awake.hold()
    assert awake.is_held
    assert responses == []
    with qtbot.waitSignal(awake.responded, timeout=TIMEOUT_MS):
        may_respond.set()
    assert responses == [""]
    awake.allow_sleep()
    assert not awake.is_held
    assert allows_sleep.wait(10)


def test_missing_wakepy_is_the_reason_that_the_computer_may_sleep(monkeypatch):
    monkeypatch.setitem(sys.modules, "wakepy", None)
    with keep_awake.inhibit_sleep() as reason:
        assert "wakepy" in reason


def test_desktop_without_sleep_inhibition_is_no_error(monkeypatch):
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
        assert reason


def test_notify_without_desktop_notifications_alerts_the_window(qtbot, monkeypatch):
    window = QWidget()
    qtbot.addWidget(window)
    alerted = []
    monkeypatch.setattr(desktop_integration, "supports_notifications", lambda: False)
    monkeypatch.setattr(QApplication, "alert", alerted.append)
    Notifier(window).notify("Surgeon", "The run finished.")
    assert alerted == [window]


def test_notify_shows_a_desktop_notification(qtbot, monkeypatch):
    window = QWidget()
    qtbot.addWidget(window)
    shown = []
    monkeypatch.setattr(desktop_integration, "supports_notifications", lambda: True)
    monkeypatch.setattr(QSystemTrayIcon, "show", lambda tray: None)
    monkeypatch.setattr(
        QSystemTrayIcon, "showMessage", lambda tray, *texts: shown.append(texts[:2])
    )
    notifier = Notifier(window)
    assert notifier.is_needed  # the window was never shown
    for message in ("one", "two"):
        notifier.notify("Surgeon", message)
    assert shown == [("Surgeon", "one"), ("Surgeon", "two")]
    assert len(notifier.findChildren(QSystemTrayIcon)) == 1
