"""The Qt application: style, numbers, messages, and what becomes of exceptions."""

from __future__ import annotations

import locale
import logging
import sys
import threading
import traceback
from types import TracebackType

from PySide6.QtCore import (
    QMessageLogContext,
    QObject,
    QtMsgType,
    Signal,
    Slot,
    qInstallMessageHandler,
)
from PySide6.QtWidgets import QApplication

from surgeon_engine.api.messages.events import Failed
from surgeon_gui.base.icon import application_icon
from surgeon_gui.base.languages import teach_qt
from surgeon_gui.base.settings import Settings, name_application
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.text import labels

_log = logging.getLogger(__name__)

_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}


def make_application(arguments: list[str]) -> QApplication:
    """The one QApplication of the process."""
    qInstallMessageHandler(_on_qt_message)
    application = QApplication(arguments)
    prepare(application)
    return application


def prepare(application: QApplication) -> None:
    """Give an application its name, language, icon and style."""
    name_application()
    teach_qt(application)
    application.setDesktopFileName("surgeon")
    # Qt takes the system's decimal comma for the whole process; parsers of numbers,
    # tokenizers among them, expect a point.
    locale.setlocale(locale.LC_NUMERIC, "C")
    application.setStyle("Fusion")
    application.setWindowIcon(application_icon())


class SystemTheme(QObject):
    """Follows the system when it turns dark or light, if that is what was chosen."""

    def __init__(self, application: QApplication, settings: Settings) -> None:
        super().__init__(application)
        self._application = application
        self._settings = settings
        application.styleHints().colorSchemeChanged.connect(self._on_scheme_changed)
        apply_theme(application, settings.theme)

    @Slot()
    def _on_scheme_changed(self) -> None:
        apply_theme(self._application, self._settings.theme)


class ExceptionRelay(QObject):
    """Logs what nobody caught, in any thread, and tells the window by a signal.

    The hooks run in the thread in which the exception was raised, where no widget may
    be touched; a signal to a slot of a widget crosses over to its thread.
    """

    raised = Signal(object)  # Failed

    def install(self) -> None:
        """Take over the hooks of the interpreter."""
        sys.excepthook = self._on_exception
        threading.excepthook = self._on_thread_exception

    def _on_exception(
        self,
        kind: type[BaseException],
        error: BaseException,
        where: TracebackType | None,
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        details = "".join(traceback.format_exception(kind, error, where))
        _log.error("Nobody caught this:\n%s", details)
        message = labels.WINDOW_BUG.format(error=f"{kind.__name__}: {error}")
        self.raised.emit(Failed(message, labels.WINDOW_BUG_HINT, details))

    def _on_thread_exception(self, args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        self._on_exception(args.exc_type, error, args.exc_traceback)


def _on_qt_message(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
    logging.getLogger("qt").log(_LEVELS.get(kind, logging.WARNING), message)
