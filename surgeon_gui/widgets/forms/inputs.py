"""Inputs of a form, by the type of the config field.

    Enum             combo box with a tooltip for each choice
    bool             check box
    int              spin box
    float            spin box with decimals; a share of 1 is shown as a percentage
    tuple[str, ...]  line with values separated by commas
    Pattern          two spin boxes

A number beyond the limits can be typed. When it is committed, the box replaces it by
the nearest valid number and shows the limit. Qt's own boxes ignore the key instead, so
that 99 would become 9.

An input that the user has not changed returns the value that it was given, with all its
digits, even those that it does not show.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from PySide6.QtCore import QPoint, QSignalBlocker, Signal, SignalInstance, Slot
from PySide6.QtGui import QValidator
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QDoubleSpinBox,
    QLineEdit,
    QSpinBox,
    QToolTip,
    QWidget,
)
from typing_extensions import override

from surgeon_engine.api.config.fields import Limits
from surgeon_engine.api.config.n_m import MAX_OF, Pattern
from surgeon_engine.base.formatting import rounded_up
from surgeon_gui.base.translation import tr
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.field_text import FieldText
from surgeon_gui.text.labels import PATTERN
from surgeon_gui.widgets.choice_box import ChoiceBox
from surgeon_gui.widgets.controls import line_label, named
from surgeon_gui.widgets.layouts import horizontal
from surgeon_gui.widgets.spin_boxes import NumberBox, WholeBox
from surgeon_gui.widgets.tool_tips import plain_tip

_LARGEST_INT = 2**31 - 1  # of a spin box
_HOURS = re.compile(r"([\d.,\s]+)h([\d.,\s]*)", re.IGNORECASE)  # and minutes
_PARTIAL_TIME = re.compile(r"[\d.,\s]*(h[\d.,\s]*)?(m|mi|min)?", re.IGNORECASE)
_PARTIAL_NUMBER = re.compile(r"[+-]?[\d.,\s]*([eE][+-]?\d*)?")

Validation = tuple[QValidator.State, str, int]


class Input:
    """The input of one field: a widget, and how to read and show its value."""

    def __init__(self, widget: QWidget, edited: SignalInstance) -> None:
        self.widget = widget
        self.edited = edited  # by the user or by a script
        self._shown: Any = None
        self._read_back: Any = None  # value of the widget after `_shown` was set

    @property
    def value(self) -> Any:
        """The current value."""
        value = self._read()
        return self._shown if value == self._read_back else value

    @property
    def is_being_typed_in(self) -> bool:
        """True if the user is typing and the text is not committed yet."""
        return False

    def show(self, value: Any) -> None:
        """Show a value without emitting a signal."""
        if value != self.value:
            with QSignalBlocker(self.widget):
                self._write(value)
        self._shown, self._read_back = value, self._read()

    def _read(self) -> Any:
        raise NotImplementedError

    def _write(self, value: Any) -> None:
        raise NotImplementedError


class ChoiceInput(Input):
    """Combo box for the members of an enum."""

    def __init__(self, kind: type[Enum]) -> None:
        self._box = ChoiceBox()
        self._members = list(kind)
        self._reasons: dict[Any, str] | None = None
        self._box.addItems([choice_label(member)[0] for member in self._members])
        super().__init__(self._box, self._box.currentIndexChanged)
        self.disable({})

    def disable(self, reasons: Mapping[Any, str]) -> None:
        """Disable the choices that have a reason; their tooltips show it."""
        if reasons == self._reasons:
            return
        self._reasons = dict(reasons)
        for index, member in enumerate(self._members):
            tip = choice_label(member)[1]
            self._box.disable(index, reasons.get(member, ""), tip=tip)

    @override
    def _read(self) -> Enum:
        return self._members[self._box.currentIndex()]

    @override
    def _write(self, value: Enum) -> None:
        self._box.setCurrentIndex(self._members.index(value))


class CheckInput(Input):
    """Check box; the form has its label."""

    def __init__(self) -> None:
        self._box = QCheckBox()
        super().__init__(self._box, self._box.toggled)

    @override
    def _read(self) -> bool:
        return self._box.isChecked()

    @override
    def _write(self, value: bool) -> None:
        self._box.setChecked(value)


class _NumberInput(Input):
    """Base of the inputs for numbers."""

    def __init__(
        self, box: QSpinBox | QDoubleSpinBox, edited: SignalInstance, text: FieldText
    ) -> None:
        self.number_box = box
        box.setGroupSeparatorShown(True)
        box.setSuffix(_suffix(text, box.value()))
        box.setSpecialValueText(text.minimum_text)
        box.setKeyboardTracking(False)
        super().__init__(box, edited)

    @property
    @override
    def is_being_typed_in(self) -> bool:
        box = self.number_box
        if isinstance(box, QSpinBox):
            committed = box.textFromValue(box.value())
        else:
            committed = box.textFromValue(box.value())
        if box.value() == box.minimum():
            committed = box.specialValueText() or committed
        return box.hasFocus() and box.cleanText() != committed


def _allow_any_number(box: _CountBox | DecimalBox, result: Validation) -> Validation:
    """Return Qt's validation of a text, but allow numbers beyond the limits."""
    state, text, position = result
    bare, locale = without_unit(box, text), box.locale()
    if locale.groupSeparator() in bare and not locale.toDouble(bare)[1]:
        # Qt would ignore the separator and read 4,2 as 42.
        state = QValidator.State.Intermediate
    if state is QValidator.State.Invalid and _PARTIAL_NUMBER.fullmatch(bare):
        state = QValidator.State.Intermediate
    return state, text, position


def _corrected(box: _CountBox | DecimalBox, text: str) -> str:
    """Return the valid number nearest to the typed one; empty if it is no number.

    If the numbers differ, a tooltip shows the limit.
    """
    number = number_in(box, without_unit(box, text))
    if number is None:
        return ""
    nearest = min(max(number, box.minimum()), box.maximum())
    if nearest != number:
        limit = box.text_of(nearest) + box.unit_of(nearest)
        message = (
            tr("At least {limit}.") if nearest > number else tr("At most {limit}.")
        )
        below = box.mapToGlobal(QPoint(0, box.height()))
        QToolTip.showText(below, plain_tip(message.format(limit=limit)), box)
    return box.text_of(nearest) + box.suffix()


def number_in(box: _CountBox | DecimalBox, bare: str) -> float | None:
    """Return the number in a text without a unit; None if it is no number."""
    locale = box.locale()
    number, is_number = locale.toDouble(bare)
    if not is_number and bare.count(locale.groupSeparator()) == 1:
        # The decimal sign of another language.
        other = bare.replace(locale.groupSeparator(), locale.decimalPoint())
        number, is_number = locale.toDouble(other)
    return number if is_number else None


def without_unit(box: _CountBox | DecimalBox, text: str) -> str:
    """Return a text without the unit of its box."""
    return text.removesuffix(box.suffix()).strip()


class _CountBox(WholeBox):
    """Spin box with a unit in the singular or plural: "1 shot", "2 shots"."""

    def __init__(self, text: FieldText) -> None:
        super().__init__()
        self._field_text = text
        self.valueChanged.connect(self.show_unit)

    @Slot()
    def show_unit(self) -> None:
        """Update the unit for the current number."""
        suffix = _suffix(self._field_text, self.value())
        if suffix != self.suffix():
            self.setSuffix(suffix)

    @override
    def validate(self, text: str, position: int) -> Validation:
        return _allow_any_number(self, super().validate(text, position))

    @override
    def fixup(self, text: str) -> str:
        return _corrected(self, text) or super().fixup(text)

    def text_of(self, number: float) -> str:
        """Return a number as the box shows it."""
        return self.textFromValue(round(number))

    def unit_of(self, number: float) -> str:
        """Return the unit of a number."""
        return _suffix(self._field_text, number)


class WholeInput(_NumberInput):
    """Spin box for a whole number."""

    def __init__(self, limits: Limits | None, text: FieldText) -> None:
        self._box = _CountBox(text)
        low, high = (limits.low, limits.high) if limits else (0, _LARGEST_INT)
        self._box.setRange(int(low), int(min(high, _LARGEST_INT)))
        super().__init__(self._box, self._box.valueChanged, text)

    @override
    def _read(self) -> int:
        return self._box.value()

    @override
    def _write(self, value: int) -> None:
        self._box.setValue(value)
        self._box.show_unit()  # signals are blocked while a value is shown


class DecimalInput(_NumberInput):
    """Spin box for a number with decimals."""

    def __init__(
        self, limits: Limits, text: FieldText, box: DecimalBox | None = None
    ) -> None:
        self._box = box or DecimalBox()
        self._scale = text.scale
        self._is_size = bool(text.unit_bytes)
        smallest = 10.0**-text.decimals
        self._low = limits.low * self._scale + (smallest if limits.low_is_open else 0)
        high = limits.high * self._scale - (smallest if limits.high_is_open else 0)
        # Enough for the digits shown, without 0.30000000000000004.
        more = 2 if text.is_share else 3 if text.unit_bytes else 0
        self._digits = text.decimals + more
        self._box.setDecimals(text.decimals)
        self._box.setRange(self._low, high)
        if text.unit != "%":
            self._box.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        super().__init__(self._box, self._box.valueChanged, text)

    @override
    def _read(self) -> float:
        return round(self._box.value() / self._scale, self._digits)

    @override
    def _write(self, value: float) -> None:
        scaled = value * self._scale if math.isfinite(value) else self._low
        if self._is_size:  # as in all texts
            scaled = rounded_up(scaled, self._box.decimals())
        self._box.setValue(scaled)


class ListInput(Input):
    """Line for any number of text."""

    def __init__(self, text: FieldText) -> None:
        self._edit = QLineEdit()
        self._edit.setPlaceholderText(text.example)
        self._edit.editingFinished.connect(self._on_editing_finished)
        super().__init__(self._edit, self._edit.editingFinished)

    @property
    @override
    def value(self) -> Any:
        return self._shown if self.is_being_typed_in else super().value

    @property
    @override
    def is_being_typed_in(self) -> bool:
        return self._edit.hasFocus() and self._edit.isModified()

    @override
    def _read(self) -> tuple[str, ...]:
        entries = (entry.strip() for entry in self._edit.text().split(","))
        return tuple(entry for entry in entries if entry)

    @override
    def _write(self, value: tuple[str, ...]) -> None:
        self._edit.setText(", ".join(value))
        self._edit.setCursorPosition(0)

    def _on_editing_finished(self) -> None:
        self._edit.setModified(False)


class PatternInput(Input):
    """A pattern such as 2:4: the weights to keep, and of how many."""

    def __init__(self) -> None:
        self._boxes = _PatternBoxes()
        super().__init__(self._boxes, self._boxes.edited)

    @property
    @override
    def is_being_typed_in(self) -> bool:
        return any(entry.is_being_typed_in for entry in self._boxes.inputs)

    def _read(self) -> str:
        return ":".join(str(entry.value) for entry in self._boxes.inputs)

    def _write(self, value: str) -> None:
        for entry, number in zip(self._boxes.inputs, value.split(":"), strict=True):
            entry.show(int(number))


class _PatternBoxes(QWidget):
    edited = Signal()

    def __init__(self) -> None:
        super().__init__()
        limits = {"kept": Limits(1, MAX_OF - 1), "of": Limits(2, MAX_OF)}
        self.inputs = [self._input(name, limits[name]) for name in limits]
        kept, of = (entry.widget for entry in self.inputs)
        horizontal(self, (kept, 1), line_label(":"), (of, 1), spacing=None)
        self.setFocusProxy(kept)

    def _input(self, name: str, limits: Limits) -> WholeInput:
        entry = WholeInput(limits, PATTERN[name])
        named(entry.widget, f"pruning_{name}", PATTERN[name])
        entry.edited.connect(self.edited)
        return entry


class DecimalBox(NumberBox):
    """Spin box that shows 0.1 instead of 0.1000."""

    typed: re.Pattern[str] | None = None  # what else may be typed, or a part of it

    @override
    def textFromValue(self, value: float) -> str:
        text = super().textFromValue(value)
        point = self.locale().decimalPoint()
        return text.rstrip("0").removesuffix(point) if point in text else text

    @override
    def validate(self, text: str, position: int) -> Validation:
        found = super().validate(text, position)
        state, text, position = _allow_any_number(self, found)
        is_invalid = state is QValidator.State.Invalid
        if is_invalid and self.typed and self.typed.fullmatch(without_unit(self, text)):
            state = QValidator.State.Intermediate
        return state, text, position

    @override
    def fixup(self, text: str) -> str:
        return _corrected(self, text) or super().fixup(text)

    def text_of(self, number: float) -> str:
        """Return a number as the box shows it."""
        return self.textFromValue(number)

    def unit_of(self, number: float) -> str:
        """Return the unit, which is the same for every number."""
        return self.suffix()


class MinutesBox(DecimalBox):
    """Spin box of minutes in which one can type hours: 8 h, 1 h 30 min."""

    typed = _PARTIAL_TIME

    @override
    def fixup(self, text: str) -> str:
        bare = without_unit(self, text).lower().removesuffix("min").strip()
        if found := _HOURS.fullmatch(bare):
            hours = number_in(self, found[1].strip())
            minutes = number_in(self, found[2].strip() or "0")
            if hours is not None and minutes is not None:
                bare = self.textFromValue(60 * hours + minutes)
        return super().fixup(bare)


def make_input(kind: Any, limits: Limits | None, text: FieldText) -> Input:
    """Return the input for a field of type `kind`."""
    if kind is Pattern:
        return PatternInput()
    if kind is bool:
        return CheckInput()
    if not isinstance(kind, type):
        return ListInput(text)
    if issubclass(kind, Enum):
        return ChoiceInput(kind)
    if issubclass(kind, int):
        return WholeInput(limits, text)
    assert limits is not None, f"{text.label} has no limits"
    box = MinutesBox() if text.unit == tr("min") else None
    return DecimalInput(limits, text, box)


def _suffix(text: FieldText, number: float) -> str:
    unit = text.unit_for(number)
    return f" {unit}" if unit else ""
