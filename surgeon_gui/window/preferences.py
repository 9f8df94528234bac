"""The preferences: the dialog, and the theme and language of the View menu."""

from __future__ import annotations

from dataclasses import fields, replace

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QApplication, QMainWindow

from surgeon_gui.base.settings import Preferences, Settings, ThemeChoice, save
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.session import Session
from surgeon_gui.views.preferences.dialog import PreferencesDialog
from surgeon_gui.window.desktop_integration import DesktopIntegration
from surgeon_gui.window.menus import Menus


class PreferencesMenu(QObject):
    """Let the user choose the preferences, and apply them."""

    offline_changed = Signal()
    noted = Signal(str)  # empty: what was noted does not hold anymore

    def __init__(
        self,
        session: Session,
        settings: Settings,
        desktop: DesktopIntegration,
        menus: Menus,
        window: QMainWindow,
    ) -> None:
        super().__init__(window)
        self._session, self._settings = session, settings
        self._language = settings.language  # language of this window
        self._desktop, self._menus, self._window = desktop, menus, window
        menus.actions["preferences_action"].triggered.connect(self.show_dialog)
        menus.themes.triggered.connect(self._on_theme_chosen)
        menus.languages.triggered.connect(self._on_language_chosen)
        menus.check("theme", settings.theme)
        menus.check("language", settings.language)
        desktop.keep_awake(settings.keeps_awake)
        session.runs_go_on = settings.runs_go_on

    @property
    def current(self) -> Preferences:
        """The preferences that apply now."""
        names = (each.name for each in fields(Preferences))
        current = Preferences(**{name: getattr(self._settings, name) for name in names})
        return replace(current, run_parent=self._session.state.run_parent)

    @Slot()
    def show_dialog(self) -> None:
        """Open the Preferences dialog."""
        dialog = PreferencesDialog(self.current, self._window)
        dialog.edited.connect(self.apply)
        dialog.open()

    @Slot(object)
    def apply(self, chosen: Preferences) -> None:
        """Apply what differs from the current preferences."""
        before, settings = self.current, self._settings
        if chosen.run_parent != before.run_parent:
            self._session.draft.set_run_parent(chosen.run_parent)
        if chosen.theme is not before.theme:
            settings.theme = chosen.theme
            application = QApplication.instance()
            assert isinstance(application, QApplication)
            apply_theme(application, chosen.theme)
            self._menus.check("theme", chosen.theme)
        if chosen.language != before.language:
            settings.language = chosen.language
            self._menus.check("language", chosen.language)
        if chosen.device is not before.device:
            settings.device = chosen.device
            self._session.draft.set_default_device(chosen.device)
        settings.units = chosen.units  # applies after a restart
        if chosen.keeps_awake is not before.keeps_awake:
            settings.keeps_awake = chosen.keeps_awake
            self._desktop.keep_awake(chosen.keeps_awake)
        settings.runs_go_on = self._session.runs_go_on = chosen.runs_go_on
        if chosen.is_offline is not before.is_offline:
            settings.is_offline = chosen.is_offline
            self._session.draft.set_offline(chosen.is_offline)
            self.offline_changed.emit()
        save(settings)  # the window may be killed

    @Slot(QAction)
    def _on_theme_chosen(self, action: QAction) -> None:
        theme = ThemeChoice(action.data())  # Qt stores it as a str
        self.apply(replace(self.current, theme=theme))

    @Slot(QAction)
    def _on_language_chosen(self, action: QAction) -> None:
        self.apply(replace(self.current, language=action.data()))
        note = tr("The language applies when Surgeon is started again.")
        self.noted.emit("" if action.data() == self._language else note)
