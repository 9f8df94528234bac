"""The Qt application: style, locale, Qt messages and unhandled exceptions."""

from __future__ import annotations

import locale
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from types import FrameType, TracebackType

from pyqtgraph.util.garbage_collector import GarbageCollector
from PySide6.QtCore import (
    QMessageLogContext,
    QObject,
    QSocketNotifier,
    QtMsgType,
    Signal,
    Slot,
    qInstallMessageHandler,
)
from PySide6.QtWidgets import QApplication

from surgeon_engine.api.messages.events import Failed
from surgeon_gui.base.icon import application_icon
from surgeon_gui.base.languages import translate_qt
from surgeon_gui.base.settings import Settings, name_application
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.base.translation import tr
from surgeon_gui.text import labels

_log = logging.getLogger(__name__)

_EXIT_NO_DISPLAY = 2
# SIGHUP: the terminal was closed. Windows has none.
_EXIT_SIGNALS = {
    signal.SIGINT,
    signal.SIGTERM,
    getattr(signal, "SIGHUP", signal.SIGINT),
}
_MAX_SIGNALS = 64  # read at once
_NO_DISPLAY = tr(
    "Surgeon cannot open its window: there is no display, or system packages of Qt "
    "are missing (README.md lists them). Without a display, prune with surgeon run "
    "JOB.toml. To see the window of another machine, connect with ssh -X."
)
_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}


def make_application(arguments: list[str]) -> QApplication:
    """Create the QApplication of the process."""
    qInstallMessageHandler(_on_qt_message)
    application = QApplication(arguments)
    prepare(application)
    # Qt holds locks while it calls Python, for example to disconnect a signal. If
    # Python then collects garbage and deletes a widget, Qt waits for its own lock for
    # ever. So garbage is collected by a timer only, between events.
    application.garbage_collector = GarbageCollector()  # type: ignore[attr-defined]
    return application


def prepare(application: QApplication) -> None:
    """Set name, language, icon and style of an application."""
    name_application()
    translate_qt(application)
    application.setDesktopFileName("surgeon")
    # Qt sets the decimal comma of the system for the whole process, but number parsers,
    # for example in tokenizers, expect a point.
    locale.setlocale(locale.LC_NUMERIC, "C")
    application.setStyle("Fusion")
    application.setWindowIcon(application_icon())


def follow_system_theme(application: QApplication, settings: Settings) -> None:
    """Apply the theme, and again when the color scheme of the system changes."""

    def apply() -> None:
        apply_theme(application, settings.theme)

    application.styleHints().colorSchemeChanged.connect(apply)
    apply()


class ExceptionRelay(QObject):
    """Logs unhandled exceptions of any thread and emits them as a signal.

    The hooks run in the thread of the exception, which must not touch widgets. The
    signal is delivered in the thread of the connected widget.
    """

    raised = Signal(object)  # Failed

    def install(self) -> None:
        """Replace the exception hooks of the interpreter."""
        sys.excepthook = self._on_exception
        threading.excepthook = self._on_thread_exception

    def _on_exception(
        self,
        kind: type[BaseException],
        error: BaseException,
        where: TracebackType | None,
    ) -> None:
        details = "".join(traceback.format_exception(kind, error, where))
        _log.error("Unhandled exception:\n%s", details)
        message = labels.WINDOW_BUG.format(error=f"{kind.__name__}: {error}")
        self.raised.emit(Failed(message, labels.WINDOW_BUG_HINT, details))

    def _on_thread_exception(self, args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        self._on_exception(args.exc_type, error, args.exc_traceback)


class ExitSignals(QObject):
    """Emits `received` when a signal asks the process to end, as of kill or Ctrl-C.

    Python runs its handlers of signals between instructions of Python, but the event
    loop of Qt waits in C++. So the interpreter writes the number of each signal into a
    socket, which wakes the event loop. Further signals do not interrupt the end.
    """

    received = Signal()

    def install(self) -> None:
        """Replace the handlers, except of signals that the process ignores."""
        self._reader, self._writer = socket.socketpair()
        for each in (self._reader, self._writer):
            each.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        kind = QSocketNotifier.Type.Read
        self._notifier = QSocketNotifier(self._reader.fileno(), kind, self)
        self._notifier.activated.connect(self._on_woken)
        for number in _EXIT_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _ignore)

    @Slot()
    def remove(self) -> None:
        """Stop waiting for signals; the process still survives them."""
        self._notifier.setEnabled(False)
        signal.set_wakeup_fd(-1)

    @Slot()
    def _on_woken(self) -> None:
        numbers = self._reader.recv(_MAX_SIGNALS)
        if _EXIT_SIGNALS.intersection(numbers):
            self.received.emit()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Handle a signal that `ExitSignals` receives as well."""


def _on_qt_message(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
    if kind is QtMsgType.QtFatalMsg and "plugin" in message:
        # Qt would end the process with advice that does not help.
        sys.stderr.write(f"{_NO_DISPLAY}\n")
        sys.stderr.flush()
        os._exit(_EXIT_NO_DISPLAY)
    logging.getLogger("qt").log(_LEVELS.get(kind, logging.WARNING), message)
