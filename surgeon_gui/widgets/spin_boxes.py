"""Inputs of numbers, which ignore the wheel without the focus."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QDoubleSpinBox, QSpinBox, QWidget
from typing_extensions import override

_NUMBER_MARGIN = 6  # pixels between the border of a spin box and its number


def takes_wheel(widget: QWidget, event: QWheelEvent) -> bool:
    """Return whether the wheel may change an input: only while that has the focus.

    Otherwise scrolling a panel would change the settings under the mouse. Without the
    focus, the event goes on to the panel.
    """
    if not widget.hasFocus():
        event.ignore()
    return widget.hasFocus()


class WholeBox(QSpinBox):
    """Spin box that ignores the wheel without the focus."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.lineEdit().setTextMargins(_NUMBER_MARGIN, 0, 0, 0)

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        if takes_wheel(self, event):
            super().wheelEvent(event)


class NumberBox(QDoubleSpinBox):
    """Spin box of a number with decimals that ignores the wheel without the focus."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.lineEdit().setTextMargins(_NUMBER_MARGIN, 0, 0, 0)

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        if takes_wheel(self, event):
            super().wheelEvent(event)
