"""The menu bar: actions and their shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMainWindow, QMenu

from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.translation import LANGUAGES, tr
from surgeon_gui.state.action_strip import ControlView
from surgeon_gui.widgets.controls import action, section_title
from surgeon_gui.widgets.popups import round_corners

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
    "go_new_action": "Ctrl+1",
    "go_runs_action": "Ctrl+2",
    "go_playground_action": "Ctrl+3",
    "search_hub_action": "Ctrl+Shift+F",
    "report_html_action": "Ctrl+E",
    "use_demo_action": "Ctrl+D",
    "load_job_action": "Ctrl+J",
    "save_picture_action": "Ctrl+Shift+P",
    "cancel_action": "Ctrl+Shift+K",
    "theme_system_action": "Ctrl+Alt+S",
    "theme_light_action": "Ctrl+Alt+L",
    "theme_dark_action": "Ctrl+Alt+D",
    "commands_action": "F1, Ctrl+?",
    "save_bundle_action": "Ctrl+Shift+D",
}


class Menus:
    """Create the menus of a window; the window connects the actions."""

    def __init__(self, window: QMainWindow) -> None:
        self._window = window
        self.actions: dict[str, QAction] = {}
        bar = window.menuBar()
        file = round_corners(bar.addMenu(tr("&File")))
        self._fill(
            file,
            "open_folder_action open_gguf_action search_hub_action use_demo_action",
        )
        self.recent = round_corners(
            file.addMenu(tr("Open &recent"))
        )  # filled by `RecentMenu`
        self._fill(
            file,
            "- load_job_action save_job_action save_picture_action - "
            "report_html_action report_pdf_action - "
            "preferences_action computers_action disk_space_action - quit_action",
        )
        preferences = self.actions["preferences_action"]
        preferences.setMenuRole(QAction.MenuRole.PreferencesRole)
        self._fill(round_corners(bar.addMenu(tr("&Edit"))), "undo_action redo_action")
        self._fill(
            round_corners(bar.addMenu(tr("&Run"))),
            "start_action pause_action stop_action cancel_action - "
            "queue_add_action sweep_action queue_start_action",
        )
        view = round_corners(bar.addMenu(tr("&View")))
        self.themes = QActionGroup(window)
        theme = round_corners(view.addMenu(tr("&Theme")))
        for choice in ThemeChoice:
            added = self._add(theme, f"theme_{choice.value}_action")
            _add_to_group(self.themes, added, choice)
        self.languages = QActionGroup(window)
        self._add_languages(round_corners(view.addMenu(tr("L&anguage"))))
        self._fill(
            view, "log_action - go_new_action go_runs_action go_playground_action"
        )
        self._fill(
            round_corners(bar.addMenu(tr("&Help"))),
            "guide_action commands_action - save_bundle_action about_action",
        )

    def connect_slots(self, slots: Mapping[str, Callable[..., object]]) -> None:
        """Connect actions with what they do."""
        for name, slot in slots.items():
            self.actions[name].triggered.connect(slot)

    def check(self, kind: str, value: str) -> None:
        """Check the current theme, or the language that applies after a restart.

        The language "" is the language of the system.
        """
        self.actions[f"{kind}_{value or 'system'}_action"].setChecked(True)

    def show_controls(self, controls: Mapping[str, ControlView]) -> None:
        """Give the actions of a run the label and state of its buttons."""
        for name, view in controls.items():
            self.actions[f"{name}_action"].setText(view.label)
            self.actions[f"{name}_action"].setEnabled(view.is_enabled)

    def _add_languages(self, menu: QMenu) -> None:
        """Add each language by its own name, so that its speakers can read it."""
        menu.addAction(section_title(tr("Applies after a restart"), menu))
        _add_to_group(self.languages, self._add(menu, "language_system_action"), "")
        for language, name in LANGUAGES.items():
            added = QAction(name, self._window)
            added.setObjectName(f"language_{language}_action")
            self._register(menu, added)
            _add_to_group(self.languages, added, language)

    def _fill(self, menu: QMenu, names: str) -> None:
        for name in names.split():
            if name == "-":
                menu.addSeparator()
            else:
                self._add(menu, name)

    def _add(self, menu: QMenu, name: str) -> QAction:
        added = action(self._window, name, keys=_SHORTCUTS.get(name, ""))
        self._register(menu, added)
        return added

    def _register(self, menu: QMenu, added: QAction) -> None:
        menu.addAction(added)
        self.actions[added.objectName()] = added


def _add_to_group(group: QActionGroup, added: QAction, data: object) -> None:
    added.setCheckable(True)
    added.setData(data)
    group.addAction(added)
