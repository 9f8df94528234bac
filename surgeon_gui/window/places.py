"""The three places of the window, and the sidebar that leads to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QButtonGroup, QFrame, QPushButton, QStackedWidget, QWidget

from surgeon_gui.base.theme import GAP, LARGE, MARGIN, ROOM
from surgeon_gui.text import labels
from surgeon_gui.widgets.controls import button, heading
from surgeon_gui.widgets.layouts import STRETCH, horizontal, in_column, vertical
from surgeon_gui.widgets.progress import ProgressBar

SIDEBAR_WIDTH = 176  # pixels
_ELIDE = Qt.TextElideMode.ElideMiddle
_FOOT = ("computers", "preferences", "guide")


class Place(Enum):
    """The places of the window."""

    NEW = "new"
    RUNS = "runs"
    PLAYGROUND = "playground"


class Places(QWidget):
    """A sidebar, and at its right the widget of the place that is open.

    Bars that come and go are below it: what is above keeps its place.
    """

    left = Signal()  # the place that was open
    chosen = Signal(object, bool)  # Place, by the user; whether it was open before

    def __init__(
        self,
        actions: Mapping[str, QAction],
        widgets: Mapping[Place, QWidget],
        bars: Iterable[QWidget] = (),
    ) -> None:
        super().__init__()
        self._stack, self._widgets = QStackedWidget(), widgets
        for widget in widgets.values():
            self._stack.addWidget(widget)
        self._stack.currentChanged.connect(self.left)
        self._group = QButtonGroup(self)
        self._buttons = {place: self._button(place) for place in Place}
        self._progress = ProgressBar("sidebar_progress_bar")
        self._progress.hide()
        name = heading(labels.APPLICATION, LARGE, "sidebar_title")
        name.setContentsMargins(MARGIN, 0, 0, MARGIN)
        foot = {each: self._foot(each, actions) for each in _FOOT}
        self._computer = foot["computers"]
        sidebar = QFrame()
        sidebar.setObjectName("sidebar")
        sidebar.setFixedWidth(SIDEBAR_WIDTH)
        # At the lower edge of its button it moves nothing when it comes.
        runs = self._buttons[Place.RUNS]
        vertical(runs, STRETCH, self._progress, margin=(MARGIN, 0, MARGIN, 1))
        parts = (name, *self._buttons.values(), STRETCH, *foot.values())
        margin = (MARGIN, ROOM, MARGIN, MARGIN)
        vertical(sidebar, *parts, margin=margin, spacing=GAP // 2)
        column = in_column((self._stack, 1), *bars, spacing=0)
        horizontal(self, sidebar, (column, 1), spacing=0)

    def _button(self, place: Place) -> QPushButton:
        made = button(f"place_{place.value}_button", lambda: self.choose(place))
        made.setProperty("place", True)
        made.setCheckable(True)
        self._group.addButton(made)
        return made

    def _foot(self, name: str, actions: Mapping[str, QAction]) -> QPushButton:
        made = button(f"sidebar_{name}_button", actions[f"{name}_action"].trigger)
        made.setProperty("place", True)
        return made

    @property
    def current(self) -> Place:
        """The place that is open."""
        shown = self._stack.currentWidget()
        return next(place for place, each in self._widgets.items() if each is shown)

    def open(self, place: Place) -> None:
        """Open a place."""
        self._stack.setCurrentWidget(self._widgets[place])
        self._buttons[place].setChecked(True)

    def choose(self, place: Place) -> None:
        """Open a place for the user, who may want its first page if it is open."""
        was_open = self.current is place
        self.open(place)
        self.chosen.emit(place, was_open)

    def show_progress(self, share: float | None) -> None:
        """Show the progress of the run below its place; None: there is no run."""
        self._progress.setVisible(share is not None)
        self._progress.show_share(share or 0.0)

    def show_computer(self, name: str) -> None:
        """Show where the engine is."""
        metrics = self._computer.fontMetrics()
        shown = metrics.elidedText(name, _ELIDE, SIDEBAR_WIDTH - 56)
        self._computer.setText(shown)
