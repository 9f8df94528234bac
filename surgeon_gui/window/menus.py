"""The menu bar: actions and their shortcuts."""

from __future__ import annotations

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.translation import LANGUAGES, tr
from surgeon_gui.state.action_strip import RunControls
from surgeon_gui.text.captions import CAPTIONS

_SHORTCUTS = {
    "open_folder_action": "Ctrl+O",
    "open_gguf_action": "Ctrl+Shift+O",
    "save_job_action": "Ctrl+S",
    "preferences_action": "Ctrl+,",
    "quit_action": "Ctrl+Q",
    "undo_action": "Ctrl+Z",
    "redo_action": "Ctrl+Shift+Z",
    "start_action": "Ctrl+R",
    "queue_add_action": "Ctrl+Shift+R",
    "sweep_action": "Ctrl+Shift+S",
    "queue_start_action": "Ctrl+Alt+R",
    "pause_action": "Ctrl+P",
    "stop_action": "Ctrl+K",
    "log_action": "Ctrl+L",
    "runs_action": "Ctrl+H",
    "report_html_action": "Ctrl+E",
    "use_demo_action": "Ctrl+D",
    "load_job_action": "Ctrl+J",
    "save_picture_action": "Ctrl+Shift+P",
    "cancel_action": "Ctrl+Shift+K",
    "reset_layout_action": "Ctrl+Shift+L",
    "theme_system_action": "Ctrl+Alt+S",
    "theme_light_action": "Ctrl+Alt+L",
    "theme_dark_action": "Ctrl+Alt+D",
    "commands_action": "F1, Ctrl+?",
    "show_hint_action": "Shift+F1",
    "save_bundle_action": "Ctrl+Shift+D",
}


class Menus:
    """Create the menus of a window; the window connects the actions."""

    def __init__(self, window: QMainWindow) -> None:
        self._window = window
        self.actions: dict[str, QAction] = {}
        bar = window.menuBar()
        file = bar.addMenu(tr("&File"))
        self._fill(file, "open_folder_action open_gguf_action use_demo_action")
        self.recent = file.addMenu(tr("Open &recent"))  # filled by `RecentMenu`
        self._fill(
            file,
            "- load_job_action save_job_action save_picture_action - "
            "report_html_action report_pdf_action - "
            "preferences_action computers_action disk_space_action - quit_action",
        )
        preferences = self.actions["preferences_action"]
        preferences.setMenuRole(QAction.MenuRole.PreferencesRole)
        self._fill(bar.addMenu(tr("&Edit")), "undo_action redo_action")
        self._fill(
            bar.addMenu(tr("&Run")),
            "start_action pause_action stop_action cancel_action - "
            "queue_add_action sweep_action queue_start_action",
        )
        view = bar.addMenu(tr("&View"))
        self._themes = QActionGroup(window)
        theme = view.addMenu(tr("&Theme"))
        for choice in ThemeChoice:
            action = self._add(theme, f"theme_{choice.value}_action")
            _add_to_group(self._themes, action, choice)
        self._languages = QActionGroup(window)
        self._add_languages(view.addMenu(tr("L&anguage")))
        self._fill(view, "runs_action log_action reset_layout_action")
        for name in ("runs_action", "log_action"):
            self.actions[name].setCheckable(True)
        self.navigation = bar.addMenu(tr("&Go"))  # filled by `NavigationMenu`
        self._fill(
            bar.addMenu(tr("&Help")),
            "guide_action commands_action show_hint_action - "
            "save_bundle_action about_action",
        )

    @property
    def themes(self) -> QActionGroup:
        """Action group of the themes."""
        return self._themes

    @property
    def languages(self) -> QActionGroup:
        """Action group of the languages."""
        return self._languages

    def check_language(self, language: str) -> None:
        """Check the language that applies after a restart; "" is the system's."""
        self.actions[f"language_{language or 'system'}_action"].setChecked(True)

    def show_controls(self, controls: RunControls) -> None:
        """Give the actions of a run the label and state of its buttons."""
        for name, view in (
            ("start_action", controls.start),
            ("queue_add_action", controls.add),
            ("pause_action", controls.pause),
            ("stop_action", controls.stop),
            ("cancel_action", controls.cancel),
        ):
            self.actions[name].setText(view.label)
            self.actions[name].setEnabled(view.is_enabled)

    def check_theme(self, choice: ThemeChoice) -> None:
        """Check the current theme."""
        self.actions[f"theme_{choice.value}_action"].setChecked(True)

    def _add_languages(self, menu: QMenu) -> None:
        """Add each language by its own name, so that its speakers can read it."""
        menu.addSection(tr("Applies after a restart"))
        action = self._add(menu, "language_system_action")
        _add_to_group(self._languages, action, "")
        for language, name in LANGUAGES.items():
            action = QAction(name, self._window)
            action.setObjectName(f"language_{language}_action")
            self._register(menu, action)
            _add_to_group(self._languages, action, language)

    def _fill(self, menu: QMenu, names: str) -> None:
        for name in names.split():
            if name == "-":
                menu.addSeparator()
            else:
                self._add(menu, name)

    def _add(self, menu: QMenu, name: str) -> QAction:
        action = QAction(CAPTIONS[name].label, self._window)
        action.setObjectName(name)
        if name in _SHORTCUTS:
            keys = _SHORTCUTS[name].split(", ")
            action.setShortcuts([QKeySequence(key) for key in keys])
        self._register(menu, action)
        return action

    def _register(self, menu: QMenu, action: QAction) -> None:
        menu.addAction(action)
        self.actions[action.objectName()] = action


def _add_to_group(group: QActionGroup, action: QAction, data: object) -> None:
    action.setCheckable(True)
    action.setData(data)
    group.addAction(action)
