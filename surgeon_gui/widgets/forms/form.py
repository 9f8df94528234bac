"""A form made from a config dataclass, with a row for each field.

Labels, tooltips and units come from `labels.FIELDS`. Strings and tables are left to the
page, because they need more than an input. Advanced fields are in a section
that is closed at first. The row of a field that does not apply is hidden, but the field
keeps its value. A problem is shown below its field, which is marked. If the dataclass
rejects the values, the form keeps the input and shows the error at the field to mend.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import EnumType
from types import MappingProxyType
from typing import Any, Protocol

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from surgeon_engine.api.config.fields import (
    Setting,
    limit_errors,
    reset_others,
    settings_of,
    values_of,
)
from surgeon_engine.base.errors import ConfigError
from surgeon_gui.base.translation import tr
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.controls import (
    label_of,
    mark,
    mark_invalid,
    named,
    problem_label,
    show_text,
)
from surgeon_gui.widgets.forms.inputs import ChoiceInput, Input, make_input
from surgeon_gui.widgets.layouts import Collapsible, in_grid, vertical

NO_PROBLEMS: Mapping[str, str] = MappingProxyType({})
_INPUT_HEIGHT = 27  # pixels, as high as a button
_MAX_BELOW = 4  # widgets that a page may add below a field
_BELOW_PART = 99  # row of the grid of a part

Values = Mapping[str, Any]  # values of fields by name
ImpliedChanges = Callable[[Values, Values], Values]  # before, after -> further changes
_ADVANCED = {  # where two forms meet
    "recovery": tr("Further settings of the recovery"),
    "evaluation": tr("Further settings of the evaluation"),
}


def _no_changes(before: Values, after: Values) -> Values:
    return {}


class FormPart(Protocol):
    """A custom input of a page, for one field or several related ones.

    The page places it. The form reads it, shows values in it, and validates it together
    with its other fields.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its fields."""

    @property
    def edited(self) -> Any:
        """Signal of an edit by the user."""

    def values(self) -> Values:
        """Return the values of its fields."""

    def show_values(self, values: Values) -> None:
        """Show the values of all fields of the form without emitting a signal."""

    def field(self, name: str) -> QWidget:
        """Return the input of a field."""

    def layout(self) -> Any:
        """Return the layout of the part; below a grid, the form shows its problem."""


@dataclasses.dataclass(slots=True)
class _FieldRow:
    """The row of a field in a grid; QFormLayout would clip labels that wrap."""

    grid: QGridLayout
    number: int
    label: QLabel
    field: QWidget
    setting: Setting
    below: int = 0  # number of widgets that the page has added


class ConfigForm(QWidget):
    """Inputs for the fields of a dataclass, except strings and tables.

    Args:
        part: Name of the section of the config, such as "pruning".
        kind: The dataclass.
        following: Returns further changes that an edit causes.
        name: Prefix of the object names of the inputs; `part` by default.
        in_front: Advanced fields to show among the others.
        parts: Custom inputs of the page.
    """

    edited = Signal(object)  # the config, after a valid edit
    refused = Signal(object)  # the ConfigError of an invalid edit

    def __init__(
        self,
        part: str,
        kind: type[Any],
        following: ImpliedChanges = _no_changes,
        *,
        name: str = "",
        in_front: tuple[str, ...] = (),
        parts: Iterable[FormPart] = (),
    ) -> None:
        super().__init__()
        self._part = part
        self._name = name or part
        self._following = following
        self._config = kind()
        self._inputs: dict[str, Input] = {}
        self._parts = tuple(parts)
        self._before: Values = {}  # values before the current edit
        self._shown: Values | None = None  # values of the config that is shown
        self._rows: dict[str, _FieldRow] = {}
        self._left_out: set[str] = set()
        self._problems: dict[str, QLabel] = {}  # by field
        self._advanced: Collapsible | None = None
        self._opened_for: set[str] = set()  # the problems for which it was opened
        plain, advanced = in_grid(wide=1), in_grid(wide=1)
        self._settings = settings_of(kind)
        part_names = {name for part in self._parts for name in part.names}
        for part_of_page in self._parts:
            part_of_page.edited.connect(self._on_edited)
        for name, setting in self._settings.items():
            if _is_left_to_page(setting) or name in part_names:
                continue
            is_advanced = setting.option.advanced and name not in in_front
            grid = advanced if is_advanced else plain
            self._add_field(grid, setting)
        self._grids = (plain, advanced)
        layout = self._column = vertical(self)
        if plain.count():
            layout.addLayout(plain)
        if advanced.count():
            content = QWidget()
            content.setLayout(advanced)
            opener = f"{self._name}_advanced_button"
            title = _ADVANCED.get(part, tr("Advanced"))
            self._advanced = Collapsible(title, opener, content)
            layout.addWidget(self._advanced)
        self.show_config(self._config)

    def show_config(
        self, config: Any, problems: Mapping[str, str] = NO_PROBLEMS
    ) -> None:
        """Show a config, except in inputs being typed in; emits no signal.

        Settings that the config does not have get their defaults, except after an edit:
        then they keep their values, so that a choice can be undone. `problems` are
        shown at their fields; the page shows the problems of other fields.
        """
        self.show_problems(problems)
        others = {name: each.default for name, each in self._settings.items()}
        if config == self._config:
            values = self.values()
            if values == self._shown:
                return
            others |= values
        self._config = config
        self._show(others | values_of(config))
        self._shown = self._before

    @property
    def latest(self) -> Any:
        """The config that was shown or edited last."""
        return self._config

    def values(self) -> dict[str, Any]:
        """Return the values of all inputs, valid together or not."""
        values = {name: entry.value for name, entry in self._inputs.items()}
        for part in self._parts:
            values |= part.values()
        return values

    def config(self) -> Any:
        """Return the config with the values of the inputs.

        Raises:
            ConfigError: If the values are not valid together.
        """
        return dataclasses.replace(self._config, **self.values())

    def inputs(self) -> Iterator[tuple[str, QWidget]]:
        """Yield each setting, as a job names it, with its input."""
        for name in self._settings:
            if (entry := self._input_of(name)) is not None:
                yield f"{self._part}.{name}", entry

    @property
    def left_out(self) -> set[str]:
        """The settings that the page leaves out, as a job names them."""
        return {f"{self._part}.{name}" for name in self._left_out}

    def hidden(self) -> dict[str, tuple[str, QWidget]]:
        """Return the settings without effect, as a job names them.

        Each has the label and the input of a setting on which that depends.
        """
        rows = {
            name: row
            for name, row in self._rows.items()
            if row.field.isHidden() and name not in self._left_out
        }
        values = self.values()
        deciding = {
            name: row.setting.choice
            for name, row in rows.items()
            if not row.setting.is_in(values)
        }
        for other in self._settings:
            if other in rows or self._input_of(other) is None:
                continue
            for config in self._alternatives(other, values):
                for name, row in rows.items():
                    if row.setting.option.applies(config):
                        deciding.setdefault(name, other)
        found = {}
        for name in deciding:
            last = name
            while last in deciding:
                last = deciding[last]
            if last not in rows and (entry := self._input_of(last)) is not None:
                found[f"{self._part}.{name}"] = self._label(last), entry
        return found

    def _alternatives(self, name: str, values: Values) -> Iterator[Any]:
        """Yield the config with each choice of a setting, or with its default."""
        setting = self._settings[name]
        choices: Iterable[Any] = (setting.default,)
        if setting.type is bool or isinstance(setting.type, EnumType):
            choices = (False, True) if setting.type is bool else setting.type
        for choice in choices:
            with contextlib.suppress(ConfigError):  # it does not go with the others
                yield dataclasses.replace(self._config, **{**values, name: choice})

    def _input_of(self, name: str) -> QWidget | None:
        """Return the input of a setting; None if the page has it."""
        if name in self._inputs:
            return self._inputs[name].widget
        parts = (part for part in self._parts if name in part.names)
        part = next(parts, None)
        return part.field(name) if part is not None else None

    def _label(self, name: str) -> str:
        return FIELDS[f"{self._part}.{name}"].label

    def show_problems(self, problems: Mapping[str, str]) -> None:
        """Show problems below their fields, which are marked; others have none."""
        shown = {name: text for name, text in problems.items() if self._input_of(name)}
        for name in self._problems.keys() - shown:
            show_text(self._problems[name], "")
            self._mark_invalid(name, False)
        for name, text in shown.items():
            label = self._problems.get(name) or self._add_problem(name)
            show_text(label, text)
            self._mark_invalid(name, True)
            is_new, section = text not in self._opened_for, self._advanced
            if is_new and section is not None and section.isAncestorOf(label):
                section.button.setChecked(True)  # or nobody reads it
        self._opened_for.update(shown.values())

    def _mark_invalid(self, name: str, is_invalid: bool) -> None:
        entry = self._input_of(name)
        assert entry is not None
        mark_invalid(entry, is_invalid)

    def _add_problem(self, name: str) -> QLabel:
        """Add a label below a field, or below the fields for a part without a grid."""
        label = problem_label(f"{self._name}_{name}_problem")
        self._problems[name] = label
        if row := self._rows.get(name):
            row.grid.addWidget(label, row.number + 1 + _MAX_BELOW, 0, 1, 2)
            return label
        grid = next(part for part in self._parts if name in part.names).layout()
        if isinstance(grid, QGridLayout):
            grid.addWidget(label, _BELOW_PART, 0, 1, -1)
        else:
            self._column.insertWidget(1, label)
        return label

    def add_below(self, name: str, widget: QWidget) -> None:
        """Add a widget below the row of a field."""
        row = self._rows[name]
        row.below += 1
        assert row.below <= _MAX_BELOW
        row.grid.addWidget(widget, row.number + row.below, 0, 1, 2)
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            QWidget.setTabOrder(row.field, widget)

    def disable_choices(self, name: str, reasons: Mapping[Any, str]) -> None:
        """Disable choices of a field; their tooltips show the reasons."""
        entry = self._inputs[name]
        assert isinstance(entry, ChoiceInput)
        entry.disable(reasons)

    def leave_out(self, name: str, is_left_out: bool) -> None:
        """Hide the row of a field, which keeps its value, or show it again."""
        before = set(self._left_out)
        (self._left_out.add if is_left_out else self._left_out.discard)(name)
        if self._left_out != before:
            self._show(self.values())

    def edit(self, name: str, value: Any) -> None:
        """Set the value of a field as if the user had entered it."""
        self._inputs[name].show(value)
        self._on_edited()

    def _add_field(self, grid: QGridLayout, setting: Setting) -> None:
        text = FIELDS[f"{self._part}.{setting.name}"]
        entry = make_input(setting.type, setting.option.limits, text)
        named(entry.widget, f"{self._name}_{setting.name}", text)
        label = label_of(text, entry.widget)
        label.setMinimumHeight(_INPUT_HEIGHT)
        entry.widget.setMinimumHeight(_INPUT_HEIGHT)
        entry.show(setting.default)
        entry.edited.connect(self._on_edited)
        self._inputs[setting.name] = entry
        number = len(self._rows) * (2 + _MAX_BELOW)  # the last one for a problem
        grid.addWidget(label, number, 0)
        grid.addWidget(entry.widget, number, 1)
        self._rows[setting.name] = _FieldRow(grid, number, label, entry.widget, setting)

    def _show(self, values: Values) -> None:
        for name, entry in self._inputs.items():
            if not entry.is_being_typed_in:
                entry.show(values[name])
        for part in self._parts:
            part.show_values(values)
        self._before = self.values()
        config = _unchecked(self._config, self._before)
        for row in self._rows.values():
            is_there = row.setting.is_in(self._before)
            is_left_out = row.setting.name in self._left_out
            applies = row.setting.option.applies(config) and not is_left_out
            for widget in (row.label, row.field):
                widget.setVisible(is_there and applies)
            is_changed = self._before[row.setting.name] != row.setting.default
            mark(row.label, "changed", is_changed)  # by a bold label
        self._align_grids()

    def _align_grids(self) -> None:
        """Make the labels of both grids as wide as the widest that is not hidden."""
        labels = [row.label for row in self._rows.values()]
        widths = [each.sizeHint().width() for each in labels if not each.isHidden()]
        for grid in self._grids:
            grid.setColumnMinimumWidth(0, max(widths, default=0))

    @Slot()
    def _on_edited(self) -> None:
        before, after = self._before, self.values()
        if after == before and self._shown is not None:
            return
        self._show({**after, **self._following(before, after)})
        try:
            config = self.config()
        except ConfigError as error:
            self.refuse(error, *(x for x in after if after[x] != before.get(x)))
            return
        self.show_problems(NO_PROBLEMS)
        self._config = config
        self.edited.emit(config)

    def refuse(self, error: ConfigError, *edited: str) -> None:
        """Show each refused value at its field, until the next edit.

        An error of several settings is shown at the first edited one.
        """
        self._shown = None
        refused = limit_errors(_unchecked(self._config, self.values()))
        problems = {}
        for each in (error, *refused):
            names = each.settings or edited
            name = next((name for name in edited if name in names), names[0])
            problems[name] = f"{each.message} {each.hint}".strip()
        self.show_problems(problems)
        self.refused.emit(error)


def _unchecked(config: Any, values: Values) -> Any:
    """Return a config with these settings without validating them."""
    made = copy.copy(config)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    reset_others(made)
    return made


def _is_left_to_page(setting: Setting) -> bool:
    """Return True for strings and lists of dataclasses."""
    entries = typing.get_args(setting.type)
    return setting.type is str or any(map(dataclasses.is_dataclass, entries))
