"""The inputs of a form: one for each field of a config, by its type.

    Enum             a box of choices, each with its explanation
    int              a box for whole numbers within the field's limits
    float            a box for decimals; a share of something is shown as per cent
    tuple[str, ...]  a line with commas between the words
    Pattern          two boxes for whole numbers

A number beyond the limits can be typed, and becomes the nearest within once it is
meant; the box says so. Qt's own boxes swallow the key instead: 99 would become 9.

An input that was not touched gives back what it was shown, to the last digit, however
few of them it has room for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from PySide6.QtCore import QPoint, QSignalBlocker, Qt, Signal, SignalInstance, Slot
from PySide6.QtGui import QStandardItemModel, QValidator
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QToolTip,
    QWidget,
)

from surgeon_engine.api.config.fields import Limits
from surgeon_engine.api.config.pruning import MAX_OF, Pattern
from surgeon_gui.base.translation import tr
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.field_text import FieldText
from surgeon_gui.text.labels import PATTERN
from surgeon_gui.widgets.controls import choice_box, ignore_wheel

_LARGEST_INT = 2**31 - 1  # of a spin box
_BEING_TYPED = re.compile(r"[+-]?[\d.,\s]*([eE][+-]?\d*)?")  # a number, or its start

VerificationResult = tuple[QValidator.State, str, int]


class Input:
    """One field: its widget, and how its value is read and shown."""

    def __init__(self, widget: QWidget, edited: SignalInstance) -> None:
        self.widget = widget
        self.edited = edited  # of the widget; by the user or by a script
        self._shown: Any = None
        self._said: Any = None  # by the widget, when that was shown

    @property
    def value(self) -> Any:
        """What the input says."""
        said = self._read()
        return self._shown if said == self._said else said

    @property
    def is_being_typed_in(self) -> bool:
        """Whether what stands there is not its value yet."""
        return False

    def show(self, value: Any) -> None:
        """Show a value; tells nobody."""
        if value != self.value:
            with QSignalBlocker(self.widget):
                self._write(value)
        self._shown, self._said = value, self._read()

    def _read(self) -> Any:
        raise NotImplementedError

    def _write(self, value: Any) -> None:
        raise NotImplementedError


class ChoiceInput(Input):
    """One of the members of an enum."""

    def __init__(self, kind: type[Enum]) -> None:
        self._box = choice_box()
        self._members = list(kind)
        self._box.addItems([choice_label(member)[0] for member in self._members])
        super().__init__(self._box, self._box.currentIndexChanged)
        self.disable({})

    def disable(self, reasons: Mapping[Any, str]) -> None:
        """Take the choices away for which there is a reason, and say it there."""
        items = self._box.model()
        assert isinstance(items, QStandardItemModel)
        for index, member in enumerate(self._members):
            reason = reasons.get(member, "")
            items.item(index).setEnabled(not reason)
            tip = reason or choice_label(member)[1]
            self._box.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)

    def _read(self) -> Enum:
        return self._members[self._box.currentIndex()]

    def _write(self, value: Enum) -> None:
        self._box.setCurrentIndex(self._members.index(value))


class _NumberInput(Input):
    """What both kinds of number boxes have in common."""

    def __init__(
        self, box: QSpinBox | QDoubleSpinBox, edited: SignalInstance, words: FieldText
    ) -> None:
        self._number_box = ignore_wheel(box)
        box.setGroupSeparatorShown(True)
        box.setSuffix(_suffix(words, box.value()))
        box.setSpecialValueText(words.least)
        box.setKeyboardTracking(False)
        super().__init__(box, edited)

    @property
    def is_being_typed_in(self) -> bool:
        """See `Input.is_being_typed_in`."""
        box = self._number_box
        if isinstance(box, QSpinBox):
            settled = box.textFromValue(box.value())
        else:
            settled = box.textFromValue(box.value())
        if box.value() == box.minimum():
            settled = box.specialValueText() or settled
        return box.hasFocus() and box.cleanText() != settled


def _widened(
    box: _CountBox | _DecimalBox, verdict: VerificationResult
) -> VerificationResult:
    """What Qt thinks of a text, but any number may be typed, within limits or not."""
    state, text, position = verdict
    bare, locale = _bare(box, text), box.locale()
    if locale.groupSeparator() in bare and not locale.toDouble(bare)[1]:
        # Qt would leave the mark out: 4,2 is not 42.
        state = QValidator.State.Intermediate
    if state is QValidator.State.Invalid and _BEING_TYPED.fullmatch(bare):
        state = QValidator.State.Intermediate
    return state, text, position


def _mended(box: _CountBox | _DecimalBox, text: str) -> str:
    """The number nearest to the one that was typed; empty: it is none.

    Says it where that is another.
    """
    bare, locale = _bare(box, text), box.locale()
    number, is_number = locale.toDouble(bare)
    if not is_number and bare.count(locale.groupSeparator()) == 1:
        # The decimal point of another language.
        mended = bare.replace(locale.groupSeparator(), locale.decimalPoint())
        number, is_number = locale.toDouble(mended)
    if not is_number:
        return ""
    nearest = min(max(number, box.minimum()), box.maximum())
    if nearest != number:
        limit = box.text_of(nearest) + box.unit_of(nearest)
        words = tr("At least {limit}.") if nearest > number else tr("At most {limit}.")
        below = box.mapToGlobal(QPoint(0, box.height()))
        QToolTip.showText(below, words.format(limit=limit), box)
    return box.text_of(nearest) + box.suffix()


def _bare(box: _CountBox | _DecimalBox, text: str) -> str:
    """The text without its unit."""
    return text.removesuffix(box.suffix()).strip()


class _CountBox(QSpinBox):
    """Says "1 shot" and "2 shots"."""

    def __init__(self, words: FieldText) -> None:
        super().__init__()
        self._words = words
        self.valueChanged.connect(self.show_unit)

    @Slot()
    def show_unit(self) -> None:
        """Call the unit as it is called behind this number."""
        suffix = _suffix(self._words, self.value())
        if suffix != self.suffix():
            self.setSuffix(suffix)

    def validate(self, text: str, position: int) -> VerificationResult:
        """See `_widened`."""
        return _widened(self, super().validate(text, position))

    def fixup(self, text: str) -> str:
        """The nearest number, if it is one at all."""
        return _mended(self, text) or super().fixup(text)

    def text_of(self, number: float) -> str:
        """The number as the box writes it."""
        return self.textFromValue(round(number))

    def unit_of(self, number: float) -> str:
        """Its unit, be it one or many."""
        return _suffix(self._words, number)


class WholeInput(_NumberInput):
    """A whole number."""

    def __init__(self, limits: Limits | None, words: FieldText) -> None:
        self._box = _CountBox(words)
        low, high = (limits.low, limits.high) if limits else (0, _LARGEST_INT)
        self._box.setRange(int(low), int(min(high, _LARGEST_INT)))
        super().__init__(self._box, self._box.valueChanged, words)

    def _read(self) -> int:
        return self._box.value()

    def _write(self, value: int) -> None:
        self._box.setValue(value)
        self._box.show_unit()  # which hears nothing while a value is shown


class DecimalInput(_NumberInput):
    """A number with decimals."""

    def __init__(self, limits: Limits, words: FieldText) -> None:
        self._box = _DecimalBox()
        self._scale = 100.0 if words.is_share else 1.0
        smallest = 10.0**-words.decimals
        self._low = limits.low * self._scale + (smallest if limits.low_is_open else 0)
        high = limits.high * self._scale - (smallest if limits.high_is_open else 0)
        # Enough digits for what the box shows, without 0.30000000000000004.
        self._digits = words.decimals + (2 if words.is_share else 0)
        self._box.setDecimals(words.decimals)
        self._box.setRange(self._low, high)
        if words.unit != "%":
            self._box.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        super().__init__(self._box, self._box.valueChanged, words)

    @property
    def least(self) -> float:
        """The smallest number that it takes."""
        return self._low / self._scale

    def _read(self) -> float:
        return round(self._box.value() / self._scale, self._digits)

    def _write(self, value: float) -> None:
        shown = value * self._scale if math.isfinite(value) else self._low
        self._box.setValue(shown)


class ListInput(Input):
    """Any number of words."""

    def __init__(self, words: FieldText) -> None:
        self._edit = QLineEdit()
        self._edit.setPlaceholderText(words.example)
        self._edit.editingFinished.connect(self._on_editing_finished)
        super().__init__(self._edit, self._edit.editingFinished)

    @property
    def value(self) -> Any:
        """See `Input.value`; half a word is none yet."""
        return self._shown if self.is_being_typed_in else super().value

    @property
    def is_being_typed_in(self) -> bool:
        """See `Input.is_being_typed_in`."""
        return self._edit.hasFocus() and self._edit.isModified()

    def _read(self) -> tuple[str, ...]:
        words = (word.strip() for word in self._edit.text().split(","))
        return tuple(word for word in words if word)

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
    def is_being_typed_in(self) -> bool:
        """See `Input.is_being_typed_in`."""
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
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(kept, 1)
        layout.addWidget(QLabel(":"))
        layout.addWidget(of, 1)
        self.setFocusProxy(kept)

    def _input(self, name: str, limits: Limits) -> WholeInput:
        words = PATTERN[name]
        entry = WholeInput(limits, words)
        entry.widget.setObjectName(f"pruning_{name}")
        entry.widget.setAccessibleName(words.label)
        entry.widget.setAccessibleDescription(words.tip)
        entry.widget.setToolTip(words.tip)
        entry.edited.connect(self.edited)
        return entry


class _DecimalBox(QDoubleSpinBox):
    """Shows 0.1 rather than 0.1000."""

    def textFromValue(self, value: float) -> str:
        """The number without zeros at its end."""
        text = super().textFromValue(value)
        point = self.locale().decimalPoint()
        return text.rstrip("0").removesuffix(point) if point in text else text

    def validate(self, text: str, position: int) -> VerificationResult:
        """See `_widened`."""
        return _widened(self, super().validate(text, position))

    def fixup(self, text: str) -> str:
        """The nearest number, if it is one at all."""
        return _mended(self, text) or super().fixup(text)

    def text_of(self, number: float) -> str:
        """The number as the box writes it."""
        return self.textFromValue(number)

    def unit_of(self, number: float) -> str:
        """Its unit, the same for every number."""
        return self.suffix()


def make_input(kind: Any, limits: Limits | None, words: FieldText) -> Input:
    """The input for a field whose type is `kind`."""
    if kind is Pattern:
        return PatternInput()
    if not isinstance(kind, type):
        return ListInput(words)
    if issubclass(kind, Enum):
        return ChoiceInput(kind)
    if issubclass(kind, int):
        return WholeInput(limits, words)
    assert limits is not None, f"{words.label} has no limits"
    return DecimalInput(limits, words)


def _suffix(words: FieldText, number: float) -> str:
    unit = words.unit_for(number)
    return f" {unit}" if unit else ""
