"""What stands at the edges of the window and can be moved, floated and hidden."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QByteArray, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDockWidget, QMainWindow, QWidget

from surgeon_gui.captions import CAPTIONS

_VERSION = 2  # of the docks; a remembered layout of another version is not used


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dock is at first, and after a reset."""

    area: Qt.DockWidgetArea
    size: int  # pixels across
    is_shown: bool


class Docks:
    """Adds docks to a window, each with a menu action that shows or hides it."""

    def __init__(self, window: QMainWindow) -> None:
        self._window = window
        self._docks: dict[str, tuple[QDockWidget, Place]] = {}

    def add(self, name: str, widget: QWidget, place: Place) -> QDockWidget:
        """Add `widget` as the dock `name`, with the title that the captions give it."""
        dock = QDockWidget(CAPTIONS[name].label)
        dock.setObjectName(name)
        dock.setAccessibleName(CAPTIONS[name].label)
        dock.setWidget(widget)
        self._docks[name] = (dock, place)
        self._put(dock, place)
        return dock

    def connect_action(self, name: str, action: QAction) -> None:
        """Let a checkable action show and hide a dock."""
        dock, _ = self._docks[name]
        action.toggled.connect(dock.setVisible)

    def is_shown(self, name: str) -> bool:
        """Whether a dock is there, also while the whole window is hidden."""
        return not self._docks[name][0].isHidden()

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

    def _put(self, dock: QDockWidget, place: Place) -> None:
        self._window.addDockWidget(place.area, dock)
        is_tall = place.area in (
            Qt.DockWidgetArea.LeftDockWidgetArea,
            Qt.DockWidgetArea.RightDockWidgetArea,
        )
        along = Qt.Orientation.Horizontal if is_tall else Qt.Orientation.Vertical
        self._window.resizeDocks([dock], [place.size], along)
        dock.setVisible(place.is_shown)
