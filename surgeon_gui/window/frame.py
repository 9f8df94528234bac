"""The frame of the main window: its size, what is beside each other, and the focus."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QDockWidget, QMainWindow, QSplitter, QWidget
from shiboken6 import isValid
from typing_extensions import override

from surgeon_gui.base.settings import Settings
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.text import labels
from surgeon_gui.views.steps.step_panel import STEPS_WIDTH, StepPanel
from surgeon_gui.widgets.controls import focus_in, neighbor_in_focus_chain
from surgeon_gui.window.central_tabs import CentralTabs
from surgeon_gui.window.docks import Docks

_SIZE = (1360, 860)
_FRAME = QSize(8, 40)  # of the title bar and the borders
_MIN_SIZE = (920, 500)  # half of a 4k screen at scale 2
_SIDES = (
    Qt.DockWidgetArea.LeftDockWidgetArea,
    Qt.DockWidgetArea.RightDockWidgetArea,
)


class WindowFrame(QMainWindow):
    """Holds the steps on the left, the views at their right, and docks."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self._docks = Docks(self)
        self._disabled: QWidget | None = None  # the last that has lost the focus so
        self._splitter = QSplitter()
        self._splitter.setObjectName("main_splitter")
        self._splitter.setChildrenCollapsible(False)
        self.setObjectName("main_window")
        self.setWindowTitle(labels.APPLICATION)
        self.setMinimumSize(*_MIN_SIZE)
        self.setAcceptDrops(True)
        self.statusBar().setSizeGripEnabled(False)

    def place(self, steps: StepPanel, views: QWidget, tabs: CentralTabs) -> None:
        """Place the steps beside the views, which are above and in tabs."""
        self._steps, self._tabs = steps, tabs
        self._splitter.addWidget(steps)
        self._splitter.addWidget(views)
        self._splitter.setStretchFactor(1, 1)
        self.setCentralWidget(self._splitter)

    def keep_room_beside(self, dock: QDockWidget) -> None:
        """Hide the steps where the window is too narrow for them beside a dock."""
        self._side_dock = dock
        dock.visibilityChanged.connect(self._make_room)
        dock.topLevelChanged.connect(self._make_room)
        dock.dockLocationChanged.connect(self._make_room)
        self._steps.opened_while_hidden.connect(dock.hide)

    def restore(self) -> None:
        """Restore the sizes and places that the settings have."""
        self._reset_size()
        if not self.settings.geometry.isEmpty():
            self.restoreGeometry(self.settings.geometry)
        self._docks.restore(self.settings.layout)
        if not self._splitter.restoreState(self.settings.splitter):
            self._reset_splitter()

    def remember(self) -> None:
        """Keep the sizes and places in the settings."""
        self.settings.geometry = self.saveGeometry()
        self.settings.layout = self._docks.layout()
        self.settings.splitter = self._splitter.saveState()

    @Slot()
    def reset_layout(self) -> None:
        """Give everything its first size and place."""
        self._docks.reset()
        self._reset_splitter()
        self._reset_size()

    def _reset_size(self) -> None:
        # Its buttons must not lie beyond the edge of a small screen.
        available = self.screen().availableGeometry().size() - _FRAME
        self.resize(QSize(*_SIZE).boundedTo(available))

    def _reset_splitter(self) -> None:
        self._splitter.setSizes([STEPS_WIDTH, self.width() - STEPS_WIDTH])

    @Slot()
    def _make_room(self) -> None:
        dock = self._side_dock
        is_beside = dock.isVisible() and not dock.isFloating()
        is_beside &= self.dockWidgetArea(dock) in _SIDES
        parts = (self._steps.minimumWidth(), self._tabs.tab_width)
        needed = sum(parts) + dock.minimumSizeHint().width() + 2 * (GAP + MARGIN)
        self._steps.setVisible(not is_beside or self.width() >= needed)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._make_room()

    @override
    def focusNextPrevChild(self, next: bool) -> bool:
        """Move the focus for Tab, but not when the widget that has it is disabled.

        Qt would move it to the next widget, which may be in another group. So nothing
        has it until Tab goes on from there.
        """
        focused = focus_in(self)
        if focused is not None and not focused.isEnabled():
            self._disabled = focused
            return False
        if focused is None and self._disabled is not None:
            if isValid(self._disabled):
                neighbor_in_focus_chain(self._disabled, is_next=next).setFocus(
                    Qt.FocusReason.TabFocusReason
                )
                return True
            self._disabled = None
        return super().focusNextPrevChild(next)
