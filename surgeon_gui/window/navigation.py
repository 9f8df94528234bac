"""The Go menu: open each step and each tab by a shortcut.

Alt+1 ... Alt+5    open a step and give it the focus
Ctrl+1 ... Ctrl+9  open a tab
"""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.problems import Step
from surgeon_gui.views.steps.step_panel import StepPanel
from surgeon_gui.window.central_tabs import CentralTabs

_MAX_TAB_SHORTCUTS = 9


class NavigationMenu(QObject):
    """Fill the Go menu with the steps and tabs of a window."""

    def __init__(
        self, menu: QMenu, steps: StepPanel, tabs: CentralTabs, window: QMainWindow
    ) -> None:
        super().__init__(window)
        self._steps = steps
        self._tabs = tabs
        self._menu = menu
        self._tab_actions: list[QAction] = []
        for number, step in enumerate(Step, start=1):
            label = CAPTIONS[f"step_{step.value}_header"].label
            text = f"&{number} {label}"
            action = self._add(f"go_{step.value}_action", text, f"Alt+{number}")
            action.setData(step)
            action.triggered.connect(self._on_step_triggered)
        menu.addSeparator()
        for number, name in enumerate(tabs.names, start=1):
            keys = f"Ctrl+{number}" if number <= _MAX_TAB_SHORTCUTS else ""
            label = CAPTIONS[name].label.replace("&", "")
            action = self._add(f"go_{name}_action", label, keys)
            action.setData(name)
            action.triggered.connect(self._on_tab_triggered)
            self._tab_actions.append(action)
        tabs.currentChanged.connect(self._update_tab_actions)
        self._update_tab_actions()

    def _add(self, name: str, text: str, keys: str) -> QAction:
        action = QAction(text, self)
        action.setObjectName(name)
        action.setShortcut(QKeySequence(keys))
        self._menu.addAction(action)
        return action

    @Slot()
    def _on_step_triggered(self) -> None:
        action = self.sender()
        assert isinstance(action, QAction)
        self._steps.open(Step(action.data()))
        self._steps.focus(Step(action.data()))

    @Slot()
    def _on_tab_triggered(self) -> None:
        action = self.sender()
        assert isinstance(action, QAction)
        self._tabs.open_tab(action.data())

    @Slot()
    def _update_tab_actions(self) -> None:
        """Enable the tab actions only while the tabs are shown."""
        for action in self._tab_actions:
            action.setEnabled(self._tabs.shows_tabs)
