"""The central area: the empty state first, then one tab per view."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QScrollArea, QStackedWidget, QTabWidget, QWidget

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.layouts import scrolling


class CentralTabs(QStackedWidget):
    """Tabs with the views, behind an empty state until they have content."""

    def __init__(self, empty_state: QWidget) -> None:
        super().__init__()
        self._tabs = QTabWidget()
        self._tabs.setObjectName("center_tabs")
        self._tabs.setAccessibleName(tr("Views"))
        self._tabs.setDocumentMode(True)
        self._tabs.tabBar().setDrawBase(False)
        self._indices: dict[str, int] = {}
        # Docks may leave less width than the empty state or a view needs.
        self.addWidget(_scrolling_both_ways(empty_state))
        self.addWidget(self._tabs)

    def add_tab(self, name: str, view: QWidget) -> None:
        """Add `view` as a scrollable tab.

        `name` is the key of its label and tooltip in the captions.
        """
        caption = CAPTIONS[name]
        area = _scrolling_both_ways(view)
        self._indices[name] = self._tabs.addTab(area, caption.label)
        self._tabs.setTabToolTip(self._indices[name], caption.tip)

    def open_tab(self, name: str) -> None:
        """Select the tab called `name`."""
        self._tabs.setCurrentIndex(self._indices[name])

    def open_at_top(self, name: str) -> None:
        """Select the tab called `name` and scroll every tab to its top."""
        self.open_tab(name)
        for index in self._indices.values():
            area = self._tabs.widget(index)
            assert isinstance(area, QScrollArea)
            area.verticalScrollBar().setValue(0)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tabs, from left to right."""
        return tuple(sorted(self._indices, key=self._indices.__getitem__))

    @property
    def open_name(self) -> str:
        """Name of the selected tab."""
        current = self._tabs.currentIndex()
        return next(name for name, i in self._indices.items() if i == current)

    @property
    def tab_width(self) -> int:
        """The pixels that all tabs need beside each other."""
        return self._tabs.tabBar().sizeHint().width()

    @property
    def shows_tabs(self) -> bool:
        """True if the tabs are shown instead of the empty state."""
        return self.currentWidget() is self._tabs

    def show_tabs(self, is_shown: bool) -> None:
        """Show the tabs if `is_shown`, otherwise the empty state."""
        self.setCurrentIndex(1 if is_shown else 0)


def _scrolling_both_ways(view: QWidget) -> QScrollArea:
    area = scrolling(view)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
    return area
