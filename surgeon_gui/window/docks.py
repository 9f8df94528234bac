"""Dock widgets, and the actions and buttons that show and hide them."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QByteArray, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractButton, QDockWidget, QMainWindow, QWidget

from surgeon_gui.text.captions import CAPTIONS

_LAYOUT_VERSION = 2  # a saved layout of another version is ignored


@dataclass(frozen=True, slots=True)
class DockPlacement:
    """Initial position of a dock, restored by a reset."""

    area: Qt.DockWidgetArea
    size: int  # width or height in pixels
    is_shown: bool


class Docks:
    """Add docks to a window and connect the controls that show and hide them."""

    def __init__(self, window: QMainWindow) -> None:
        self._window = window
        self._docks: dict[str, _Dock] = {}

    def add(self, name: str, widget: QWidget, placement: DockPlacement) -> QDockWidget:
        """Add `widget` as the dock `name`, titled by its caption."""
        dock = self._docks[name] = _Dock(CAPTIONS[name].label, placement)
        dock.setObjectName(name)
        dock.setAccessibleName(CAPTIONS[name].label)
        dock.setWidget(widget)
        self._place(dock)
        return dock

    def connect_toggle(self, name: str, toggle: QAction | QAbstractButton) -> None:
        """Let `toggle` show and hide a dock, and keep its check mark in sync."""
        self._docks[name].add_toggle(toggle)

    def reset(self) -> None:
        """Move every dock back to its initial position."""
        for dock in self._docks.values():
            dock.setFloating(False)
            self._place(dock)

    def layout(self) -> QByteArray:
        """Return the positions of all docks, for the settings."""
        return self._window.saveState(_LAYOUT_VERSION)

    def restore(self, layout: QByteArray) -> None:
        """Restore positions that `layout` returned; do nothing if empty."""
        if not layout.isEmpty():
            self._window.restoreState(layout, _LAYOUT_VERSION)

    def _place(self, dock: _Dock) -> None:
        placement = dock.placement
        self._window.addDockWidget(placement.area, dock)
        is_at_side = placement.area in (
            Qt.DockWidgetArea.LeftDockWidgetArea,
            Qt.DockWidgetArea.RightDockWidgetArea,
        )
        direction = Qt.Orientation.Horizontal if is_at_side else Qt.Orientation.Vertical
        self._window.resizeDocks([dock], [placement.size], direction)
        dock.setVisible(placement.is_shown)


class _Dock(QDockWidget):
    """Keeps the actions and buttons in sync that show and hide it."""

    def __init__(self, title: str, placement: DockPlacement) -> None:
        super().__init__(title)
        self.placement = placement
        self._toggles: list[QAction | QAbstractButton] = []
        self.visibilityChanged.connect(self._on_visibility_changed)

    def add_toggle(self, toggle: QAction | QAbstractButton) -> None:
        """Connect `toggle` in both directions."""
        toggle.setCheckable(True)
        toggle.setChecked(not self.isHidden())
        toggle.toggled.connect(self.setVisible)
        self._toggles.append(toggle)

    @Slot(bool)
    def _on_visibility_changed(self, is_visible: bool) -> None:
        # `is_visible` is also False while the main window is hidden or minimized.
        for toggle in self._toggles:
            toggle.setChecked(not self.isHidden())
