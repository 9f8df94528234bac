"""Inhibit sleep of the computer during a run.

Requires the package wakepy and a desktop that supports it. Otherwise the run continues
without, and the log states the reason. The request is made in a thread, because some
desktops respond slowly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QGuiApplication

from surgeon_gui.base.translation import tr

_PLATFORMS_WITHOUT_DESKTOP = ("offscreen", "minimal", "vnc")

# Inhibits sleep while the context is open; yields the reason if that fails.
SleepInhibitor = Callable[[], AbstractContextManager[str]]


def missing_package() -> str:
    """Return what to install to inhibit sleep; empty if it is there."""
    try:
        import wakepy  # noqa: F401
    except ImportError:
        return tr("the package wakepy is not installed (pip install wakepy)")
    return ""


def may_sleep(reason: str) -> str:
    """Return as a sentence why sleep is not inhibited; empty without a reason."""
    text = tr("The computer may go to sleep during the run: {reason}.")
    return text.format(reason=reason) if reason else ""


@contextmanager
def inhibit_sleep() -> Iterator[str]:
    """Inhibit sleep; yield the reason if that fails, else an empty string."""
    if reason := missing_package():
        yield reason
        return
    from wakepy import keep

    with keep.running(on_fail="pass") as mode:
        yield "" if mode.active else tr("the desktop does not support it")


def sleep_inhibitor() -> SleepInhibitor | None:
    """Return the inhibitor of this desktop; None if there is no desktop."""
    if QGuiApplication.platformName() in _PLATFORMS_WITHOUT_DESKTOP:
        return None
    return inhibit_sleep


class KeepAwake(QObject):
    """Inhibits sleep from `hold` to `allow_sleep`, which both return immediately."""

    responded = Signal(str)  # the reason if sleep is not inhibited, else empty
    _responded_in_thread = Signal(str)

    def __init__(
        self, inhibitor: SleepInhibitor | None, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._inhibitor = inhibitor
        self._is_over: threading.Event | None = None  # None: sleep is allowed
        self._responded_in_thread.connect(self._on_response)

    @property
    def is_held(self) -> bool:
        """True if sleep should be inhibited."""
        return self._is_over is not None

    def hold(self) -> None:
        """Inhibit sleep from now on."""
        if self._inhibitor is None or self.is_held:
            return
        self._is_over = threading.Event()
        arguments = (self._inhibitor, self._is_over)
        # A daemon, so that it does not keep the program from ending.
        threading.Thread(target=self._inhibit, args=arguments, daemon=True).start()

    def allow_sleep(self) -> None:
        """Allow sleep again."""
        if self._is_over is not None:
            self._is_over.set()
            self._is_over = None

    def _inhibit(self, inhibitor: SleepInhibitor, is_over: threading.Event) -> None:
        """Inhibit sleep until `is_over` is set; runs in a thread."""
        with inhibitor() as reason:
            try:
                self._responded_in_thread.emit(reason)
            except RuntimeError:
                return  # the window has been closed
            is_over.wait()

    @Slot(str)
    def _on_response(self, reason: str) -> None:
        self.responded.emit(reason)
