"""The Go menu: every step and every view by a key.

Alt+1 ... Alt+5    the steps, with the focus
Ctrl+1 ... Ctrl+9  the views in the centre
"""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from surgeon_gui.state.app import Step
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.views.steps.step_panel import StepPanel
from surgeon_gui.window.central_tabs import Centre

_MAX_KEYS = 9


class NavigationMenu(QObject):
    """Fills the menu from the steps and views that there are."""

    def __init__(
        self, menu: QMenu, steps: StepPanel, centre: Centre, window: QMainWindow
    ) -> None:
        super().__init__(window)
        self._steps = steps
        self._centre = centre
        self._menu = menu
        self._to_views: list[QAction] = []
        for number, step in enumerate(Step, start=1):
            label = CAPTIONS[f"step_{step.value}_header"].label
            words = f"&{number} {label}"
            action = self._add(f"go_{step.value}_action", words, f"Alt+{number}")
            action.setData(step)
            action.triggered.connect(self._on_step)
        menu.addSeparator()
        for number, name in enumerate(centre.names, start=1):
            keys = f"Ctrl+{number}" if number <= _MAX_KEYS else ""
            label = CAPTIONS[name].label.replace("&", "")
            action = self._add(f"go_{name}_action", label, keys)
            action.setData(name)
            action.triggered.connect(self._on_view)
            self._to_views.append(action)
        centre.currentChanged.connect(self._on_side_changed)
        self._on_side_changed()

    def _add(self, name: str, words: str, keys: str) -> QAction:
        action = QAction(words, self)
        action.setObjectName(name)
        action.setShortcut(QKeySequence(keys))
        self._menu.addAction(action)
        return action

    @Slot()
    def _on_step(self) -> None:
        action = self.sender()
        assert isinstance(action, QAction)
        self._steps.open(Step(action.data()))
        self._steps.focus(Step(action.data()))

    @Slot()
    def _on_view(self) -> None:
        action = self.sender()
        assert isinstance(action, QAction)
        self._centre.open_tab(action.data())

    @Slot()
    def _on_side_changed(self) -> None:
        """Offer the views only while they are in sight."""
        for action in self._to_views:
            action.setEnabled(self._centre.shows_tabs)
