"""The menu bar: what can be done, with its shortcuts."""

from __future__ import annotations

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from surgeon_gui.captions import CAPTIONS
from surgeon_gui.settings import ThemeChoice
from surgeon_gui.translation import tr

_SHORTCUTS = {
    "open_folder_action": "Ctrl+O",
    "open_gguf_action": "Ctrl+Shift+O",
    "save_job_action": "Ctrl+S",
    "quit_action": "Ctrl+Q",
    "start_action": "Ctrl+R",
    "stop_action": "Ctrl+K",
    "log_action": "Ctrl+L",
    "runs_action": "Ctrl+H",
    "report_html_action": "Ctrl+E",
}


class Menus:
    """Makes the menus of a window; the window connects the actions."""

    def __init__(self, window: QMainWindow) -> None:
        self._window = window
        self.actions: dict[str, QAction] = {}
        bar = window.menuBar()
        self._fill(
            bar.addMenu(tr("&File")),
            "open_folder_action open_gguf_action use_demo_action - "
            "load_job_action save_job_action save_picture_action - "
            "report_html_action report_pdf_action - quit_action",
        )
        self._fill(bar.addMenu(tr("&Run")), "start_action stop_action cancel_action")
        view = bar.addMenu(tr("&View"))
        theme = view.addMenu(tr("&Theme"))
        self._themes = QActionGroup(window)
        for choice in ThemeChoice:
            action = self._add(theme, f"theme_{choice.value}_action")
            action.setCheckable(True)
            action.setData(choice)
            self._themes.addAction(action)
        self._fill(view, "runs_action log_action reset_layout_action")
        for name in ("runs_action", "log_action"):
            self.actions[name].setCheckable(True)
        self._fill(bar.addMenu(tr("&Help")), "about_action")

    @property
    def themes(self) -> QActionGroup:
        """The choices of a theme, of which one is checked."""
        return self._themes

    def check_theme(self, choice: ThemeChoice) -> None:
        """Mark the theme that holds."""
        self.actions[f"theme_{choice.value}_action"].setChecked(True)

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
            action.setShortcut(QKeySequence(_SHORTCUTS[name]))
        menu.addAction(action)
        self.actions[name] = action
        return action
