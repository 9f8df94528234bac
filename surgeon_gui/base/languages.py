"""Set the language of the window and of Qt.

Call `choose` before importing modules with texts. PySide6 contains translations of Qt's
own texts, such as the buttons of its dialogs; number boxes use the separators of the
language. The C library keeps the decimal point, because number parsers rely on it.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QLibraryInfo, QLocale, QTranslator
from PySide6.QtWidgets import QApplication

from surgeon_gui.base import translation

_QT_CATALOG = "qtbase"  # texts of Qt's own dialogs


def choose(requested: str) -> None:
    """Use a language such as "de"; if it is empty, the language of the system."""
    languages = (requested,) if requested else tuple(QLocale.system().uiLanguages())
    translation.use(translation.known(*languages))


def translate_qt(application: QApplication) -> None:
    """Use the chosen language for Qt's own texts and for numbers in input boxes."""
    language = translation.language()
    QLocale.setDefault(QLocale(language))
    folder = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath))
    translator = QTranslator(application)
    if translator.load(str(folder / f"{_QT_CATALOG}_{language}.qm")):
        application.installTranslator(translator)
