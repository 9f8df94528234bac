"""Makers of controls with their words, and a guard against the passing wheel."""

from __future__ import annotations

from typing import TypeVar

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QFont, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFrame,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)
from superqt import QElidingLabel

from surgeon_gui.text.captions import CAPTIONS

_BESIDE_CHOICE = 4  # pixels, between a choice and the edges of its box

AnyWidget = TypeVar("AnyWidget", bound=QWidget)


def explained(widget: AnyWidget, meaning: str) -> AnyWidget:
    """The widget with what it means, for the mouse and for a screen reader."""
    widget.setToolTip(meaning)
    widget.setAccessibleDescription(meaning)
    return widget


def described(widget: AnyWidget, name: str) -> AnyWidget:
    """The widget with the object name `name` and the words that belong to it."""
    caption = CAPTIONS[name]
    widget.setObjectName(name)
    widget.setAccessibleName(caption.spoken)
    return explained(widget, caption.tip)


def answer_button(
    box: QMessageBox, role: QMessageBox.ButtonRole, name: str
) -> QPushButton:
    """A button of a question, with its caption."""
    return described(box.addButton(CAPTIONS[name].label, role), name)


def button(name: str, *, primary: bool = False) -> QPushButton:
    """A push button with its caption; a primary one has the accent colour."""
    made = described(QPushButton(CAPTIONS[name].label), name)
    made.setProperty("primary", primary)
    return made


def text_label(text: str = "", *, quiet: bool = False) -> QLabel:
    """A label that wraps; a quiet one is of lesser weight."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setProperty("quiet", quiet)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
    return label


def problem_label() -> QLabel:
    """A label for what is wrong; it takes no room while nothing is."""
    label = text_label()
    label.setProperty("problem", True)
    label.hide()
    return label


def show_problem(label: QLabel, problem: str) -> None:
    """Put `problem` on a `problem_label`."""
    label.setText(problem)
    label.setVisible(bool(problem))


def eliding_label(name: str, *, quiet: bool = False) -> QElidingLabel:
    """Return a one-line label that elides the middle of a long text.

    The ends of paths and of lines of figures carry the most information.
    """
    label = QElidingLabel()
    label.setObjectName(name)
    label.setProperty("quiet", quiet)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setElideMode(Qt.TextElideMode.ElideMiddle)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return label


def show_elided(label: QElidingLabel, text: str, tip: str = "") -> None:
    """Show `text` in an `eliding_label`; the tooltip is `tip` or the whole text."""
    label.setToolTip(tip or text)
    label.setAccessibleName(text)
    if text != label.text():
        label.setText(text)


def heading(text: str) -> QLabel:
    """A label in bold, above a group."""
    label = QLabel(text)
    label.setFont(bold(label.font()))
    return label


def bold(font: QFont, scale: float = 1.0) -> QFont:
    """A heavier, perhaps larger version of a font."""
    heavier = QFont(font)
    heavier.setWeight(QFont.Weight.DemiBold)
    heavier.setPointSizeF(font.pointSizeF() * scale)
    return heavier


def card(kind: str = "true") -> QFrame:
    """A frame with the look of a card."""
    frame = QFrame()
    frame.setProperty("card", kind)
    return frame


def set_min_height(widget: QWidget, least: int) -> None:
    """Let a widget with a scroll bar of its own be as low as `least` pixels.

    It takes what room there is, and asks for no more: otherwise the view around it
    would scroll as well.
    """
    widget.setMinimumHeight(least)
    across = widget.sizePolicy().horizontalPolicy()
    widget.setSizePolicy(across, QSizePolicy.Policy.Ignored)


def choice_box() -> QComboBox:
    """A box for one of several; a long choice is cut in it, not in its list."""
    box = ignore_wheel(_ElidingBox())
    policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    box.setSizeAdjustPolicy(policy)
    box.setMinimumContentsLength(8)
    return box


def finish_typing(widget: QWidget | None) -> None:
    """Take what stands in an input as meant, as if the user had left it."""
    if isinstance(widget, QAbstractSpinBox):
        widget.interpretText()
    elif isinstance(widget, QLineEdit):
        widget.editingFinished.emit()


class _ElidingBox(QComboBox):
    """Cuts its choice with an ellipsis; Qt would cut it in the middle of a letter."""

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the box with as much of the choice as there is room for."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        painter, style = QStylePainter(self), self.style()
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox,
            option,
            QStyle.SubControl.SC_ComboBoxEditField,
            self,
        ).width()
        option.currentText = self.fontMetrics().elidedText(
            self.currentText(), Qt.TextElideMode.ElideRight, room - _BESIDE_CHOICE
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


def ignore_wheel(widget: AnyWidget) -> AnyWidget:
    """The widget, changed by the wheel only while it has the focus.

    Otherwise whoever scrolls the panel would change the settings under the mouse.
    """
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_WheelGuard(widget))
    return widget


class _WheelGuard(QObject):
    """Keeps the wheel from a widget without the focus, so that its parent scrolls."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() != QEvent.Type.Wheel:
            return False
        if not isinstance(watched, QWidget) or watched.hasFocus():
            return False
        event.ignore()
        return True
