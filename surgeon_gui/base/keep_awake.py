"""Keeps the computer from going to sleep while a run is at work.

That takes the package wakepy and a desktop that lets itself be asked; without either
the run goes on all the same, and the log says so. Desktops are asked in a thread of
its own, because they may take their time to answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QGuiApplication

from surgeon_gui.base.translation import tr

_WITHOUT_DESKTOP = ("offscreen", "minimal", "vnc")  # of Qt's platforms

# Keeps the computer awake for as long as it is open; gives what is in the way of that.
StayingAwake = Callable[[], AbstractContextManager[str]]


@contextmanager
def staying_awake() -> Iterator[str]:
    """Keep the computer awake; gives why it may sleep after all, empty if not."""
    try:
        from wakepy import keep
    except ImportError:
        yield tr("the package wakepy is not installed")
        return
    with keep.running(on_fail="pass") as mode:
        yield "" if mode.active else tr("the desktop does not let itself be asked")


def on_this_desktop() -> StayingAwake | None:
    """How to stay awake here; None where there is no desktop that might sleep."""
    if QGuiApplication.platformName() in _WITHOUT_DESKTOP:
        return None
    return staying_awake


class KeepAwake(QObject):
    """Holds the computer awake from `hold` to `allow_sleep`; both return at once."""

    with_response = Signal(str)  # why it may sleep after all; empty if it will not
    _heard = Signal(str)

    def __init__(
        self, keep_awake: StayingAwake | None, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._stay_awake = keep_awake
        self._is_over: threading.Event | None = None  # None: nothing is held
        self._heard.connect(self._on_heard)

    @property
    def holds(self) -> bool:
        """Whether the computer is to stay awake."""
        return self._is_over is not None

    def hold(self) -> None:
        """Keep the computer awake from now on."""
        if self._stay_awake is None or self.holds:
            return
        self._is_over = threading.Event()
        asking = (self._stay_awake, self._is_over)
        # It must not keep the program from ending.
        threading.Thread(target=self._ask, args=asking, daemon=True).start()

    def allow_sleep(self) -> None:
        """Let the computer sleep again."""
        if self._is_over is not None:
            self._is_over.set()
            self._is_over = None

    def _ask(self, keep_awake: StayingAwake, is_over: threading.Event) -> None:
        """Runs in the other thread."""
        with keep_awake() as reason:
            try:
                self._heard.emit(reason)
            except RuntimeError:
                return  # the window has been closed meanwhile
            is_over.wait()

    @Slot(str)
    def _on_heard(self, reason: str) -> None:
        self.with_response.emit(reason)
