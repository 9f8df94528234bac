"""A box for a number, in which numbers beyond its limits can be typed.

When such a number is committed, the box replaces it by the nearest valid one and shows
the limit. Qt's own boxes ignore the key instead, so that 99 would become 9.
"""

from __future__ import annotations

import re
from functools import partial

from PySide6.QtCore import QLocale, QPoint, Qt, QTimer, Slot
from PySide6.QtGui import QValidator, QWheelEvent
from PySide6.QtWidgets import QDoubleSpinBox, QToolTip, QWidget
from typing_extensions import override

from surgeon_gui.base.translation import tr
from surgeon_gui.text.field_text import FieldText
from surgeon_gui.widgets.tool_tips import plain_tip

_NUMBER_MARGIN = 6  # pixels between the border of a spin box and its number
_PARTIAL_NUMBER = re.compile(r"[+-]?[\d.,\s]*([eE][+-]?\d*)?")
_HOURS = re.compile(r"([\d.,\s]+)h([\d.,\s]*)", re.IGNORECASE)  # and minutes
_PARTIAL_TIME = re.compile(r"[\d.,\s]*(h[\d.,\s]*)?(m|mi|min)?", re.IGNORECASE)


def number_in(bare: str, locale: QLocale) -> float | None:
    """Return the number in a text without a unit; None if it is no number.

    One that is none in the language may have the signs of another: 2,1 and 2.100,5.
    """
    point, group = locale.decimalPoint(), locale.groupSeparator()
    number, is_number = locale.toDouble(bare)
    if not is_number or bare.startswith(f"0{group}"):
        other = bare.translate(str.maketrans(point + group, group + point))
        number, is_number = locale.toDouble(other)
    return number if is_number else None


def show_limit(box: QWidget, text: str) -> None:
    """Show the limit that has replaced a number, as a tooltip below its input."""
    place = box.mapToGlobal(QPoint(0, box.height()))
    # Later: the focus that moves on would hide it.
    QTimer.singleShot(0, box, partial(QToolTip.showText, place, plain_tip(text), box))


class NumberBox(QDoubleSpinBox):
    """Shows 0.1 instead of 0.1000, and ignores the wheel without the focus.

    `text` gives the unit, in the singular or plural: "1 shot", "2 shots".
    """

    typed: re.Pattern[str] | None = None  # what else may be typed, or a part of it

    def __init__(self, text: FieldText | None = None, decimals: int = 2) -> None:
        super().__init__(decimals=decimals)
        self._field_text = text
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.lineEdit().setTextMargins(_NUMBER_MARGIN, 0, 0, 0)
        self.valueChanged.connect(self.show_unit)

    @Slot()
    def show_unit(self) -> None:
        """Update the unit for the current number."""
        if (suffix := self._unit_of(self.value())) != self.suffix():
            self.setSuffix(suffix)

    def _unit_of(self, number: float) -> str:
        if self._field_text is None:
            return self.suffix()
        unit = self._field_text.unit_for(number)
        return f" {unit}" if unit else ""

    def without_unit(self, text: str) -> str:
        """Return a text without the unit of the box."""
        return text.removesuffix(self.suffix()).strip()

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()  # scrolling the panel would change the setting

    @override
    def textFromValue(self, value: float) -> str:
        text = super().textFromValue(value)
        point = self.locale().decimalPoint()
        return text.rstrip("0").removesuffix(point) if point in text else text

    @override
    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Return Qt's validation of a text, but allow numbers beyond the limits.

        A typed unit takes the place of the box's unit.
        """
        state, text, position = super().validate(text, position)
        bare, locale, states = self.without_unit(text), self.locale(), QValidator.State
        if locale.groupSeparator() in bare and not locale.toDouble(bare)[1]:
            # Qt would ignore the separator and read 4,2 as 42.
            state = states.Intermediate
        for pattern in (_PARTIAL_NUMBER, self.typed):
            if state is states.Invalid and pattern and pattern.fullmatch(bare):
                state = states.Intermediate
        if state is states.Intermediate and not _PARTIAL_NUMBER.fullmatch(bare):
            text, position = bare, min(position, len(bare))
        return state, text, position

    @override
    def fixup(self, text: str) -> str:
        """Return the valid number nearest to the typed one; a tooltip has the limit."""
        number = number_in(self.without_unit(text), self.locale())
        if number is None:
            return super().fixup(text)
        nearest = min(max(number, self.minimum()), self.maximum())
        if nearest != number:
            limit = self.textFromValue(nearest) + self._unit_of(nearest)
            message = (
                tr("At least {limit}.") if nearest > number else tr("At most {limit}.")
            )
            show_limit(self, message.format(limit=limit))
        return self.textFromValue(nearest) + self.suffix()


class MinutesBox(NumberBox):
    """Spin box of minutes in which one can type hours: 8 h, 1 h 30 min."""

    typed = _PARTIAL_TIME

    @override
    def fixup(self, text: str) -> str:
        bare = self.without_unit(text).lower().removesuffix("min").strip()
        if found := _HOURS.fullmatch(bare):
            hours = number_in(found[1].strip(), self.locale())
            minutes = number_in(found[2].strip() or "0", self.locale())
            if hours is not None and minutes is not None:
                bare = self.textFromValue(60 * hours + minutes)
        return super().fixup(bare)
