"""Inputs of a form, by the type of the config field.

    Enum             combo box with a tooltip for each choice
    bool             check box
    int, float       spin box; a share of 1 is shown as a percentage
    tuple[str, ...]  line with values separated by commas
    Pattern          two spin boxes

An input that the user has not changed returns the value that it was given, with all its
digits, even those that it does not show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from PySide6.QtCore import QSignalBlocker, Signal, SignalInstance
from PySide6.QtWidgets import QAbstractSpinBox, QCheckBox, QLineEdit, QWidget
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
from surgeon_gui.widgets.spin_boxes import MinutesBox, NumberBox, number_in

_LARGEST = 2**31 - 1  # whole number without a limit


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


class NumberInput(Input):
    """Spin box for a number."""

    def __init__(
        self, limits: Limits, text: FieldText, box: NumberBox | None = None
    ) -> None:
        self.number_box = box = box or NumberBox(text, text.decimals)
        self._scale = text.scale
        self._is_size = bool(text.unit_bytes)
        smallest = 10.0 ** -box.decimals()
        self._low = limits.low * self._scale + (smallest if limits.low_is_open else 0)
        high = limits.high * self._scale - (smallest if limits.high_is_open else 0)
        # Enough for the digits shown, without 0.30000000000000004.
        more = 2 if text.is_share else 3 if text.unit_bytes else 0
        self._digits = box.decimals() + more
        box.setRange(self._low, high)
        if box.decimals() and text.unit != "%":
            box.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        box.setGroupSeparatorShown(True)
        box.setSpecialValueText(text.minimum_text)
        box.setKeyboardTracking(False)
        box.show_unit()
        super().__init__(box, box.valueChanged)
        self._typed: float | None = None  # since the last commit
        box.lineEdit().textEdited.connect(self._on_text_edited)
        box.editingFinished.connect(self._on_editing_finished)

    @property
    @override
    def is_being_typed_in(self) -> bool:
        box = self.number_box
        committed = box.textFromValue(box.value())
        if box.value() == box.minimum():
            committed = box.specialValueText() or committed
        return box.hasFocus() and box.cleanText() != committed

    def _on_text_edited(self, text: str) -> None:
        box = self.number_box
        self._typed = number_in(box.without_unit(text), box.locale())

    def _on_editing_finished(self) -> None:
        """Take a number that was typed, even if the box already showed it, rounded."""
        typed, self._typed = self._typed, None
        shown = self.number_box.value()
        if typed == shown and self.value != self._read():
            self._read_back = None
            self.number_box.valueChanged.emit(shown)

    @override
    def _read(self) -> float:
        return round(self.number_box.value() / self._scale, self._digits)

    @override
    def _write(self, value: float) -> None:
        scaled = value * self._scale if math.isfinite(value) else self._low
        if self._is_size:  # as in all texts
            scaled = rounded_up(scaled, self.number_box.decimals())
        self.number_box.setValue(scaled)
        self.number_box.show_unit()  # signals are blocked while a value is shown


class WholeInput(NumberInput):
    """Spin box for a whole number."""

    def __init__(self, limits: Limits | None, text: FieldText) -> None:
        low, high = (limits.low, limits.high) if limits else (0, _LARGEST)
        whole = Limits(low, min(high, _LARGEST))
        super().__init__(whole, text, NumberBox(text, decimals=0))

    @override
    def _read(self) -> int:
        return round(self.number_box.value())


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
    is_time = text.unit == tr("min")
    box = MinutesBox(text, text.decimals) if is_time else None
    return NumberInput(limits, text, box)
