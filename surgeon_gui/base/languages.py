"""Which language the window speaks, and how Qt is taught to speak it too.

`choose` comes first of all; only then may modules with words be imported. Qt's own
words, those of its dialogs' buttons, come with PySide6; number boxes get the decimal
mark of the language. The C library keeps its point: parsers of numbers rely on it.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QLibraryInfo, QLocale, QTranslator
from PySide6.QtWidgets import QApplication

from surgeon_gui.base import translation

_QT_WORDS = "qtbase"  # the catalogue of the buttons in Qt's own dialogs


def choose(wish: str) -> None:
    """Take the wished language, such as "de"; empty: the first that the system has."""
    wished = (wish,) if wish else tuple(QLocale.system().uiLanguages())
    translation.use(translation.known(*wished))


def teach_qt(application: QApplication) -> None:
    """Let Qt say its own words and write numbers in the language that was chosen."""
    language = translation.language()
    QLocale.setDefault(QLocale(language))
    folder = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath))
    translator = QTranslator(application)
    if translator.load(str(folder / f"{_QT_WORDS}_{language}.qm")):
        application.installTranslator(translator)
