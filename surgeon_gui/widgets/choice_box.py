"""A combo box of values, which ignores the wheel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtGui import QPaintEvent, QStandardItemModel, QWheelEvent
from PySide6.QtWidgets import QComboBox, QStyle, QStyleOptionComboBox, QStylePainter
from typing_extensions import override

from surgeon_gui.widgets.controls import described, update_hover
from surgeon_gui.widgets.popups import cut_corners
from surgeon_gui.widgets.tool_tips import plain_tip

_PADDING = 4  # pixels between a choice and the edges of its box
SHORT = Qt.ItemDataRole.UserRole + 1  # a choice in fewer words, for a narrow box


class ChoiceBox(QComboBox):
    """Offers values by their labels; shows a long one in full in the list alone.

    Elides its choice; Qt would clip it in the middle of a letter.
    """

    def __init__(self, name: str = "", min_length: int = 8) -> None:
        super().__init__()
        self._offered: list[tuple[Any, str]] = []
        policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self.setSizeAdjustPolicy(policy)
        self.setMinimumContentsLength(min_length)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        if name:
            described(self, name)

    def offer(self, labels: Mapping[Any, str], chosen: Any = None) -> None:
        """Offer values, and choose one of them, or else the first; emits no signal."""
        values = list(labels)
        with QSignalBlocker(self):
            if self._offered != list(labels.items()):
                self._offered = list(labels.items())
                self.clear()
                self.addItems(list(labels.values()))
            self.setCurrentIndex(values.index(chosen) if chosen in values else 0)

    def choose(self, value: Any) -> None:
        """Choose a value of those that are offered; emits no signal."""
        with QSignalBlocker(self):
            self.setCurrentIndex([each for each, _ in self._offered].index(value))

    def disable(self, index: int, reason: str, *, tip: str) -> None:
        """Disable a choice for a reason, which replaces its tooltip; empty: enable."""
        items = self.model()
        assert isinstance(items, QStandardItemModel)
        items.item(index).setEnabled(not reason)
        roles = Qt.ItemDataRole
        self.setItemData(index, plain_tip(reason or tip), roles.ToolTipRole)
        self.setItemData(index, reason, roles.AccessibleDescriptionRole)

    @property
    def value(self) -> Any:
        """The chosen value of those that are offered."""
        return self._offered[self.currentIndex()][0]

    @property
    def shown_text(self) -> str:
        """The choice as the box shows it, in fewer words if it has such."""
        if self.currentIndex() < 0:
            return self.placeholderText()
        return str(self.currentData(SHORT) or self.currentText())

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # the box keeps the focus after a choice: the page scrolls

    @override
    def showPopup(self) -> None:
        view = self.view()
        cut_corners(view)
        # A list that was closed by Escape is where the keys have left it.
        view.setCurrentIndex(self.model().index(self.currentIndex(), 0))
        super().showPopup()

    @override
    def hidePopup(self) -> None:
        super().hidePopup()
        update_hover(self)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        painter, style = QStylePainter(self), self.style()
        width = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox,
            option,
            QStyle.SubControl.SC_ComboBoxEditField,
            self,
        ).width()
        option.currentText = self.fontMetrics().elidedText(
            self.shown_text, Qt.TextElideMode.ElideRight, width - _PADDING
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
