"""What stands at the edges of the window and can be moved, floated and hidden."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QByteArray, QObject, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractButton, QDockWidget, QMainWindow, QWidget

from surgeon_gui.text.captions import CAPTIONS

_VERSION = 2  # of the docks; a remembered layout of another version is not used


@dataclass(frozen=True, slots=True)
class DockArea:
    """Where a dock is at first, and after a reset."""

    area: Qt.DockWidgetArea
    size: int  # pixels across
    is_shown: bool


class Docks:
    """Adds docks to a window, and lets actions and buttons show and hide them."""

    def __init__(self, window: QMainWindow) -> None:
        self._window = window
        self._docks: dict[str, tuple[QDockWidget, DockArea]] = {}
        self._switches: dict[str, _Switches] = {}

    def add(self, name: str, widget: QWidget, place: DockArea) -> QDockWidget:
        """Add `widget` as the dock `name`, with the title that the captions give it."""
        dock = QDockWidget(CAPTIONS[name].label)
        dock.setObjectName(name)
        dock.setAccessibleName(CAPTIONS[name].label)
        dock.setWidget(widget)
        self._docks[name] = (dock, place)
        self._switches[name] = _Switches(dock)
        self._put(dock, place)
        return dock

    def connect_switch(self, name: str, switch: QAction | QAbstractButton) -> None:
        """Let something checkable show and hide a dock, and be checked as it stands."""
        self._switches[name].add(switch)

    def reset(self) -> None:
        """Put every dock where it was at first."""
        for dock, place in self._docks.values():
            dock.setFloating(False)
            self._put(dock, place)

    def layout(self) -> QByteArray:
        """Where they all are, to be remembered."""
        return self._window.saveState(_VERSION)

    def restore(self, layout: QByteArray) -> None:
        """Put them where they were remembered to be, if that is known."""
        if not layout.isEmpty():
            self._window.restoreState(layout, _VERSION)

    def _put(self, dock: QDockWidget, place: DockArea) -> None:
        self._window.addDockWidget(place.area, dock)
        is_tall = place.area in (
            Qt.DockWidgetArea.LeftDockWidgetArea,
            Qt.DockWidgetArea.RightDockWidgetArea,
        )
        along = Qt.Orientation.Horizontal if is_tall else Qt.Orientation.Vertical
        self._window.resizeDocks([dock], [place.size], along)
        dock.setVisible(place.is_shown)


class _Switches(QObject):
    """What shows and hides a dock; all of them follow it."""

    def __init__(self, dock: QDockWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        self._switches: list[QAction | QAbstractButton] = []
        dock.visibilityChanged.connect(self._on_shown)

    def add(self, switch: QAction | QAbstractButton) -> None:
        """Let another one do it too."""
        switch.setCheckable(True)
        switch.setChecked(not self._dock.isHidden())
        switch.toggled.connect(self._dock.setVisible)
        self._switches.append(switch)

    @Slot(bool)
    def _on_shown(self, is_visible: bool) -> None:
        # A dock in a window that is hidden or minimised counts as invisible to Qt.
        for switch in self._switches:
            switch.setChecked(not self._dock.isHidden())
