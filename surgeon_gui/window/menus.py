"""The menu bar: actions and their shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.translation import LANGUAGES, tr
from surgeon_gui.state.action_strip import RunControls
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.problems import Step
from surgeon_gui.views.steps.step_panel import StepPanel
from surgeon_gui.widgets.controls import action
from surgeon_gui.window.central_tabs import CentralTabs

_MAX_TAB_SHORTCUTS = 9
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
        self.themes = QActionGroup(window)
        theme = view.addMenu(tr("&Theme"))
        for choice in ThemeChoice:
            added = self._add(theme, f"theme_{choice.value}_action")
            _add_to_group(self.themes, added, choice)
        self.languages = QActionGroup(window)
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

    def connect_slots(self, slots: Mapping[str, Callable[..., object]]) -> None:
        """Connect actions with what they do."""
        for name, slot in slots.items():
            self.actions[name].triggered.connect(slot)

    def check(self, kind: str, value: str) -> None:
        """Check the current theme, or the language that applies after a restart.

        The language "" is that of the system.
        """
        self.actions[f"{kind}_{value or 'system'}_action"].setChecked(True)

    def show_controls(self, controls: RunControls) -> None:
        """Give the actions of a run the label and state of its buttons."""
        for each in fields(controls):
            view = getattr(controls, each.name)
            self.actions[f"{each.name}_action"].setText(view.label)
            self.actions[f"{each.name}_action"].setEnabled(view.is_enabled)

    def _add_languages(self, menu: QMenu) -> None:
        """Add each language by its own name, so that its speakers can read it."""
        menu.addSection(tr("Applies after a restart"))
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


class NavigationMenu(QObject):
    """Fill the Go menu: open each step and each tab by a shortcut.

    Alt+1 ... Alt+5    open a step and give it the focus
    Ctrl+1 ... Ctrl+9  open a tab
    """

    def __init__(
        self, menu: QMenu, steps: StepPanel, tabs: CentralTabs, window: QMainWindow
    ) -> None:
        super().__init__(window)
        self._steps, self._tabs, self._menu = steps, tabs, menu
        for number, step in enumerate(Step, start=1):
            label = CAPTIONS[f"step_{step.value}_header"].label
            added = self._add(step.value, f"&{number} {label}", f"Alt+{number}")
            added.triggered.connect(partial(self._open_step, step))
        menu.addSeparator()
        self._tab_actions: list[QAction] = []
        for number, name in enumerate(tabs.names, start=1):
            keys = f"Ctrl+{number}" if number <= _MAX_TAB_SHORTCUTS else ""
            added = self._add(name, CAPTIONS[name].label.replace("&", ""), keys)
            added.triggered.connect(partial(self._open_tab, name))
            self._tab_actions.append(added)
        tabs.currentChanged.connect(self._update_tab_actions)
        self._update_tab_actions()

    def _add(self, name: str, text: str, keys: str) -> QAction:
        added = QAction(text, self)
        added.setObjectName(f"go_{name}_action")
        added.setShortcut(QKeySequence(keys))
        self._menu.addAction(added)
        return added

    def _open_step(self, step: Step, _: bool = False) -> None:
        self._steps.open(step)
        self._steps.focus(step)

    def _open_tab(self, name: str, _: bool = False) -> None:
        self._tabs.open_tab(name)

    @Slot()
    def _update_tab_actions(self) -> None:
        """Enable the tab actions only while the tabs are shown."""
        for each in self._tab_actions:
            each.setEnabled(self._tabs.shows_tabs)
