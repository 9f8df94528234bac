"""The middle of the window: an invitation at first, then a tab for each view."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QStackedWidget, QTabWidget, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.scrolling import scrolling


class Centre(QStackedWidget):
    """Shows `empty` until there is something to see in the tabs."""

    def __init__(self, empty: QWidget) -> None:
        super().__init__()
        self._tabs = QTabWidget()
        self._tabs.setObjectName("centre_tabs")
        self._tabs.setAccessibleName(tr("Views"))
        self._tabs.setDocumentMode(True)
        self._tabs.tabBar().setDrawBase(False)
        self._places: dict[str, int] = {}
        self.addWidget(empty)
        self.addWidget(self._tabs)

    def add_tab(self, name: str, view: QWidget) -> None:
        """Add a view, which scrolls where the window is too low for it.

        Its words are those of `name` in the captions.
        """
        caption = CAPTIONS[name]
        area = scrolling(view)
        # Docks may leave less than a view needs across.
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self._places[name] = self._tabs.addTab(area, caption.label)
        self._tabs.setTabToolTip(self._places[name], caption.tip)

    def open_tab(self, name: str) -> None:
        """Bring a view to the front."""
        self._tabs.setCurrentIndex(self._places[name])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the views, from left to right."""
        return tuple(sorted(self._places, key=self._places.__getitem__))

    @property
    def open_name(self) -> str:
        """The name of the view at the front."""
        index = self._tabs.currentIndex()
        return next(name for name, place in self._places.items() if place == index)

    @property
    def shows_tabs(self) -> bool:
        """Whether the views are in sight, and not the invitation."""
        return self.currentWidget() is self._tabs

    def show_tabs(self, has_something: bool) -> None:
        """Show the views, or the invitation while there is nothing in them."""
        self.setCurrentIndex(1 if has_something else 0)
