"""A form made from a config dataclass: one input for each field, by its type.

    Enum     a box of choices, each with its explanation
    int      a box for whole numbers within the field's limits
    float    a box for decimals; a share of something is shown as per cent
    str      left to the page: texts and paths need more than an input

Labels, tooltips and units come from `text.FIELDS`. Fields marked as advanced stand in
a section that is closed at first. A value that the dataclass refuses is told at the
form, in the words of the refusal.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from surgeon_engine.config import Limits
from surgeon_engine.errors import ConfigError
from surgeon_gui.text import CHOICES, FIELDS, FieldText
from surgeon_gui.theme import GAP
from surgeon_gui.widgets.collapsible import Collapsible
from surgeon_gui.widgets.controls import (
    calm,
    choice_box,
    problem_label,
    show_problem,
)

_PER_CENT_DECIMALS = 1
_DECIMALS = 4
_INPUT_HEIGHT = 27  # pixels, as high as a button
_LARGEST_INT = 2**31 - 1  # of a spin box


@dataclasses.dataclass(frozen=True, slots=True)
class _Input:
    """One field: its widget, and how its value is read and shown."""

    widget: QWidget
    read: Callable[[], Any]
    show: Callable[[Any], None]


class ConfigForm(QWidget):
    """The inputs for the fields of `kind` that are not text.

    `part` is the name of the config in the whole, as in "pruning".
    """

    edited = Signal(object)  # the config, after the user changed something
    refused = Signal(object)  # the ConfigError, where the values make no config

    def __init__(self, part: str, kind: type[Any]) -> None:
        super().__init__()
        self._part = part
        self._config = kind()
        self._inputs: dict[str, _Input] = {}
        self._problem = problem_label()
        self._problem.setObjectName(f"{part}_form_problem")
        plain, advanced = _rows(), _rows()
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if hints[field.name] is str:
                continue
            rows = advanced if field.metadata.get("advanced") else plain
            self._add_field(rows, field, hints[field.name])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        if plain.rowCount():
            layout.addLayout(plain)
        if advanced.rowCount():
            content = QWidget()
            content.setLayout(advanced)
            layout.addWidget(
                Collapsible("Advanced", f"{part}_advanced_button", content)
            )
        layout.addWidget(self._problem)

    def show_config(self, config: Any) -> None:
        """Show a config, but not over what is being typed; tells nobody."""
        self._config = config
        show_problem(self._problem, "")
        for name, entry in self._inputs.items():
            value = getattr(config, name)
            if entry.read() == value or _is_being_typed_in(entry.widget):
                continue
            with QSignalBlocker(entry.widget):
                entry.show(value)

    def config(self) -> Any:
        """What the inputs say, with everything else as it was last shown.

        Raises:
            ConfigError: the values do not go together.
        """
        values = {name: entry.read() for name, entry in self._inputs.items()}
        return dataclasses.replace(self._config, **values)

    def field(self, name: str) -> QWidget:
        """The widget of a field."""
        return self._inputs[name].widget

    def _add_field(
        self, rows: QFormLayout, field: dataclasses.Field[Any], kind: type
    ) -> None:
        words = FIELDS[f"{self._part}.{field.name}"]
        entry = self._make_input(field, kind, words)
        entry.widget.setObjectName(f"{self._part}_{field.name}")
        entry.widget.setAccessibleName(words.label)
        entry.widget.setAccessibleDescription(words.tip)
        entry.widget.setToolTip(words.tip)
        label = QLabel(words.label)
        label.setToolTip(words.tip)
        label.setBuddy(entry.widget)
        label.setMinimumHeight(_INPUT_HEIGHT)
        entry.widget.setMinimumHeight(_INPUT_HEIGHT)
        rows.addRow(label, entry.widget)
        self._inputs[field.name] = entry

    def _make_input(
        self, field: dataclasses.Field[Any], kind: type, words: FieldText
    ) -> _Input:
        limits = field.metadata.get("limits")
        if issubclass(kind, Enum):
            return self._choice_input(kind)
        if issubclass(kind, int):
            return self._whole_input(limits, words)
        assert isinstance(limits, Limits), f"{field.name} has no limits"
        return self._decimal_input(limits, words)

    def _choice_input(self, kind: type[Enum]) -> _Input:
        box: QComboBox = choice_box()
        members = list(kind)
        for index, member in enumerate(members):
            label, explanation = CHOICES[member]
            box.addItem(label)
            box.setItemData(index, explanation, Qt.ItemDataRole.ToolTipRole)
        box.currentIndexChanged.connect(self._on_edited)
        return _Input(
            box,
            lambda: members[box.currentIndex()],
            lambda value: box.setCurrentIndex(members.index(value)),
        )

    def _whole_input(self, limits: Limits | None, words: FieldText) -> _Input:
        box = calm(QSpinBox())
        low, high = (limits.low, limits.high) if limits else (0, _LARGEST_INT)
        box.setRange(int(low), int(min(high, _LARGEST_INT)))
        box.setGroupSeparatorShown(True)
        box.setSuffix(f" {words.unit}" if words.unit else "")
        box.setKeyboardTracking(False)
        box.valueChanged.connect(self._on_edited)
        return _Input(box, box.value, box.setValue)

    def _decimal_input(self, limits: Limits, words: FieldText) -> _Input:
        box = calm(QDoubleSpinBox())
        scale = 100.0 if words.unit == "%" else 1.0
        decimals = _PER_CENT_DECIMALS if scale > 1 else _DECIMALS
        smallest = 10.0**-decimals
        low = limits.low * scale + (smallest if limits.low_is_open else 0)
        high = limits.high * scale - (smallest if limits.high_is_open else 0)
        box.setDecimals(decimals)
        box.setRange(low, high)
        box.setSingleStep(1.0 if scale > 1 else 0.01)
        box.setSuffix(f" {words.unit}" if words.unit else "")
        box.setKeyboardTracking(False)
        box.valueChanged.connect(self._on_edited)
        # Enough digits for what the box shows, without 0.30000000000000004.
        return _Input(
            box,
            lambda: round(box.value() / scale, decimals + 2),
            lambda value: box.setValue(value * scale if math.isfinite(value) else low),
        )

    @Slot()
    def _on_edited(self) -> None:
        try:
            config = self.config()
        except ConfigError as error:
            show_problem(self._problem, error.message)
            self.refused.emit(error)
            return
        show_problem(self._problem, "")
        self.edited.emit(config)


def _is_being_typed_in(widget: QWidget) -> bool:
    """Whether the text in a number box is not its value yet."""
    if not widget.hasFocus():
        return False
    if isinstance(widget, QSpinBox):
        return widget.cleanText() != widget.textFromValue(widget.value())
    if isinstance(widget, QDoubleSpinBox):
        return widget.cleanText() != widget.textFromValue(widget.value())
    return False


def _rows() -> QFormLayout:
    rows = QFormLayout()
    rows.setContentsMargins(0, 0, 0, 0)
    rows.setHorizontalSpacing(GAP)
    rows.setVerticalSpacing(GAP)
    rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    rows.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    return rows
