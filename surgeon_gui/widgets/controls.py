"""Factory functions for labeled controls, and input widgets that ignore the wheel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from PySide6.QtCore import QEvent, QObject, QRect, Qt, SignalInstance
from PySide6.QtGui import QAction, QCursor, QFont, QFontDatabase, QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QAbstractSpinBox,
    QLabel,
    QLineEdit,
    QMenu,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QWidget,
)
from superqt import QElidingLabel
from typing_extensions import override

from surgeon_gui.base.theme import LARGE
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.captions.caption import spoken
from surgeon_gui.text.field_text import FieldText
from surgeon_gui.text.numbers import keep_units, wrappable
from surgeon_gui.widgets.popups import round_corners
from surgeon_gui.widgets.tool_tips import plain_tip, show_tip

_HAD_FOCUS = "had_focus"  # property of a widget that was disabled
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter  # for numbers

AnyWidget = TypeVar("AnyWidget", bound=QWidget)
OnClick = Callable[..., object] | SignalInstance


def explained(widget: AnyWidget, meaning: str) -> AnyWidget:
    """Set `meaning` as tooltip and accessible description; return the widget."""
    show_tip(widget, meaning)
    widget.setAccessibleDescription(meaning)
    return widget


def described(widget: AnyWidget, name: str) -> AnyWidget:
    """Set the object name and the caption that belongs to it; return the widget."""
    caption = CAPTIONS[name]
    widget.setObjectName(name)
    widget.setAccessibleName(caption.spoken)
    return explained(widget, caption.tip)


def named(widget: AnyWidget, name: str, text: FieldText) -> AnyWidget:
    """Set the object name and the texts of a setting; return the widget."""
    widget.setObjectName(name)
    widget.setAccessibleName(text.label)
    return explained(widget, text.tip)


def enable_unless(widget: QWidget, obstacle: str) -> None:
    """Enable a widget; if there is an obstacle, disable it and show that as tooltip."""
    set_enabled(widget, is_enabled=not obstacle)
    show_tip(widget, obstacle or widget.accessibleDescription())


def neighbor_in_focus_chain(widget: QWidget, *, is_next: bool) -> QWidget:
    """Return the widget to which Tab would lead, or Shift+Tab."""
    step = QWidget.nextInFocusChain if is_next else QWidget.previousInFocusChain
    found = step(widget)
    while found is not None and found is not widget and not _takes_tab(found):
        found = step(found)
    return found or widget


def _takes_tab(widget: QWidget) -> bool:
    takes_tab = widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    has_proxy = widget.focusProxy() is not None
    return (
        bool(takes_tab) and not has_proxy and widget.isEnabled() and widget.isVisible()
    )


def set_enabled(widget: QWidget, *, is_enabled: bool) -> None:
    """Enable or disable a widget; one that had the focus gets it back.

    Qt would give the focus to the next widget, which may be anywhere.
    """
    window = widget.window()
    if not is_enabled and window.focusWidget() is widget:
        widget.setProperty(_HAD_FOCUS, True)
        widget.setEnabled(False)
        if (focused := window.focusWidget()) is not None:
            focused.clearFocus()
        return
    widget.setEnabled(is_enabled)
    if is_enabled and widget.property(_HAD_FOCUS):
        widget.setProperty(_HAD_FOCUS, False)
        if widget.isVisible() and window.focusWidget() is None:
            widget.setFocus()


def is_focused(widget: QWidget) -> bool:
    """Return whether a widget has the focus, or had it when it was disabled."""
    focused = widget.window().focusWidget()
    return focused is widget or (bool(widget.property(_HAD_FOCUS)) and focused is None)


def show_button(made: QPushButton, label: str, tip: str, *, is_enabled: bool) -> None:
    """Give a button another label, tooltip and state."""
    if made.text() != label:
        made.setText(label)
        made.setAccessibleName(spoken(label))
    set_enabled(made, is_enabled=is_enabled)
    explained(made, tip)


def message_box(
    parent: QWidget | None, icon: QMessageBox.Icon, name: str
) -> QMessageBox:
    """Return a message box that shows plain text."""
    box = QMessageBox(parent)
    box.setObjectName(name)
    box.setIcon(icon)
    box.setTextFormat(Qt.TextFormat.PlainText)
    return box


def button(
    name: str, on_click: OnClick | None = None, *, primary: bool = False
) -> QPushButton:
    """Return a push button with its caption; a primary one has the accent color."""
    made = described(QPushButton(CAPTIONS[name].label), name)
    made.setProperty("primary", primary)
    if on_click is not None:
        made.clicked.connect(on_click)
    return made


def give_menu(made: QPushButton, menu: QMenu) -> None:
    """Let a button open a menu, and show that by an arrow."""
    made.setProperty("menu", True)
    made.setMenu(round_corners(menu))
    menu.aboutToHide.connect(partial(update_hover, made))


def update_hover(widget: QWidget) -> None:
    """Let a widget look hovered only if the mouse is on it, after its list has closed.

    The list has taken the mouse, so that Qt does not tell the widget that it has left.
    """
    is_hovered = widget.rect().contains(widget.mapFromGlobal(QCursor.pos()))
    widget.setAttribute(Qt.WidgetAttribute.WA_UnderMouse, is_hovered)
    widget.update()


def action(
    parent: QObject, name: str, on_trigger: OnClick | None = None, keys: str = ""
) -> QAction:
    """Return an action with its caption; several shortcuts are separated by commas."""
    made = QAction(CAPTIONS[name].label, parent)
    made.setObjectName(name)
    made.setShortcuts([QKeySequence(each) for each in keys.split(", ") if each])
    if on_trigger is not None:
        made.triggered.connect(on_trigger)
    return made


def section_title(text: str, parent: QObject) -> QAction:
    """Return the title of a part of a menu; a section of Qt would be a mere line."""
    made = QAction(text, parent)
    made.setFont(bold(made.font()))
    made.setEnabled(False)
    return made


def fill_menu(menu: QMenu, slots: Mapping[str, OnClick]) -> dict[str, QAction]:
    """Add an action for each slot to a menu; return the actions by name."""
    actions = {name: action(menu, name, slot) for name, slot in slots.items()}
    menu.addActions(list(actions.values()))
    return actions


def add_action(
    view: QAbstractItemView,
    menu: QMenu,
    name: str,
    slot: Callable[[], None],
    keys: str = "",
) -> QAction:
    """Add an action to a view and to its menu.

    Its keys work while the view has the focus.
    """
    made = action(view, name, slot, keys)
    made.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
    view.addAction(made)
    menu.addAction(made)
    return made


def line_label(text: str = "", *, quiet: bool = False, name: str = "") -> QLabel:
    """Return a plain-text label of one line; a quiet one has the muted color."""
    label = QLabel(text)
    label.setObjectName(name)
    label.setProperty("quiet", quiet)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def label_of(text: FieldText, buddy: QWidget) -> QLabel:
    """Return the label of the input of a setting."""
    label = line_label(text.label)
    label.setToolTip(plain_tip(text.tip))
    label.setBuddy(buddy)
    return label


class _WrappingLabel(QLabel):
    """Wraps plain text, even in long words, but not between a number and its unit."""

    _text = ""

    @override
    def text(self) -> str:
        """Return the text as it was set."""
        return self._text

    @override
    def setText(self, text: str) -> None:
        if text == self._text:
            return
        self._text = text
        super().setText(wrappable(keep_units(text)))


def text_label(text: str = "", *, quiet: bool = False, name: str = "") -> QLabel:
    """Return a plain-text label that wraps; a quiet one has the muted color."""
    label = _WrappingLabel()
    label.setObjectName(name)
    label.setProperty("quiet", quiet)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setText(text)
    label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
    return label


def warning_label(name: str) -> QLabel:
    """Return a label for a warning, hidden until there is one; see `show_text`."""
    label = text_label(name=name)
    label.setProperty("warning", True)
    label.hide()
    return label


def problem_label(name: str = "") -> QLabel:
    """Return a label for a problem, hidden until there is one."""
    label = text_label(name=name)
    label.setProperty("problem", True)
    label.hide()
    return label


def show_text(label: QLabel, text: str) -> None:
    """Show a text on a label; hide the label if it is empty."""
    label.setText(text)
    label.setVisible(bool(text))


def mark(widget: QWidget, name: str, value: bool | str) -> None:
    """Set a property on which the style of a widget and its children depends."""
    if (widget.property(name) or False) == value:
        return
    widget.setProperty(name, value)
    for each in (widget, *widget.findChildren(QWidget)):
        each.style().polish(each)  # applies the style sheet again


def mark_invalid(widget: QWidget, is_invalid: bool) -> None:
    """Give an input with a problem a frame in the color of problems."""
    mark(widget, "invalid", is_invalid)


class _ElidingLabel(QElidingLabel):
    """Elides its text again when it has another font, such as a bold one."""

    @override
    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.setText(self.text())

    @override
    def heightForWidth(self, width: int) -> int:
        """Return the height of the whole text, not of what is left of it."""
        if not self.wordWrap():
            return super().heightForWidth(width)
        flags = int(self.alignment()) | Qt.TextFlag.TextWordWrap
        room = QRect(0, 0, width, 0)
        return self.fontMetrics().boundingRect(room, flags, self.text()).height()


def eliding_label(
    name: str, *, quiet: bool = False, keeps_end: bool = False
) -> QElidingLabel:
    """Return a one-line label that elides the end of a long text.

    `keeps_end`: the middle instead, for a path, or a name with a size at its end.
    """
    label = _ElidingLabel()
    label.setObjectName(name)
    label.setProperty("quiet", quiet)
    label.setTextFormat(Qt.TextFormat.PlainText)
    modes = Qt.TextElideMode
    label.setElideMode(modes.ElideMiddle if keeps_end else modes.ElideRight)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return label


def show_elided(label: QElidingLabel, text: str, tip: str = "") -> None:
    """Show `text` in an `eliding_label`; the tooltip is `tip` or the whole text."""
    show_tip(label, tip or text)
    label.setAccessibleName(text)
    if text != label.text():
        label.setText(text)


def heading(text: str, scale: float = 1.0, name: str = "") -> QLabel:
    """Return a bold line; `scale` is a size of the type scale."""
    label = line_label(text, name=name)
    label.setFont(bold(label.font(), scale))
    return label


def large_label(name: str, scale: float = LARGE) -> QElidingLabel:
    """Return a bold line that is elided; `scale` is a size of the type scale."""
    label = eliding_label(name)
    label.setFont(bold(label.font(), scale))
    return label


def chip(name: str, on_click: OnClick | None = None) -> QPushButton:
    """Return a checkable button of a row of choices."""
    made = button(name, on_click)
    made.setProperty("chip", True)
    made.setCheckable(True)
    return made


def link(name: str, on_click: OnClick | None = None) -> QPushButton:
    """Return a button that looks like quiet text."""
    made = button(name, on_click)
    made.setProperty("link", True)
    made.setCursor(Qt.CursorShape.PointingHandCursor)
    return made


def bold(font: QFont, scale: float = 1.0) -> QFont:
    """Return a copy of `font` with a heavier weight, scaled in size."""
    heavier = QFont(font)
    heavier.setWeight(QFont.Weight.DemiBold)
    heavier.setPointSizeF(font.pointSizeF() * scale)
    return heavier


def set_min_height(widget: QWidget, height: int) -> None:
    """Let a widget that scrolls shrink to `height` pixels.

    Its size hint is ignored, because otherwise the view around it would scroll as well.
    """
    widget.setMinimumHeight(height)
    horizontal = widget.sizePolicy().horizontalPolicy()
    widget.setSizePolicy(horizontal, QSizePolicy.Policy.Ignored)


def fixed_font() -> QFont:
    """Return the system's font whose letters have the same width."""
    return QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)


def finish_typing(widget: QWidget | None) -> None:
    """Commit the text of an input, as if it had lost the focus."""
    if isinstance(widget, QAbstractSpinBox):
        widget.interpretText()
    elif isinstance(widget, QLineEdit):
        widget.editingFinished.emit()
