"""A form made from a config dataclass: a row with an input for each field.

Labels, tooltips and units come from `labels.FIELDS`. Texts, paths and consent are left
to the page: they need more than an input. Fields marked as advanced stand in a section
that is closed at first. A field that does not apply to what the others say has no row,
but keeps its value. A value that the dataclass refuses is told at the form, in the
words of the refusal, and stays there to be mended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from surgeon_engine.api.config.fields import (
    Setting,
    fields_of,
    settings_of,
    values_of,
    with_values,
)
from surgeon_engine.api.errors import ConfigError
from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.widgets.collapsible import Collapsible
from surgeon_gui.widgets.controls import problem_label, show_problem
from surgeon_gui.widgets.forms.inputs import ChoiceInput, Input, make_input

_INPUT_HEIGHT = 27  # pixels, as high as a button
_MAX_BELOW = 4  # widgets of the page's own under a field; empty rows take no room

Values = Mapping[str, Any]  # of the fields, by name
Following = Callable[[Values, Values], Values]  # before, after -> what changes too


def _nothing_follows(before: Values, after: Values) -> Values:
    return {}


class FormPart(Protocol):
    """An input of a page's own, for one field or for several that belong together.

    It stands where the page has put it; the form reads it, shows it values, and checks
    what it says together with everything else.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Of its fields."""

    @property
    def edited(self) -> Any:
        """The signal that tells of an edit."""

    def values(self) -> Values:
        """What it says, of its fields."""

    def show_values(self, values: Values) -> None:
        """Show the values of all fields of the form; tells nobody."""


@dataclasses.dataclass(slots=True)
class _FieldRow:
    """A field's place: a grid, because QFormLayout cuts labels that wrap."""

    grid: QGridLayout
    number: int
    label: QLabel
    field: QWidget
    setting: Setting
    below: int = 0  # widgets of the page's own

    def show_if(self, is_wanted: bool) -> None:
        self.label.setVisible(is_wanted)
        self.field.setVisible(is_wanted)


class ConfigForm(QWidget):
    """The inputs for the fields of `kind` that are not text.

    `part` is the name of the config in the whole, as in "pruning", and the beginning of
    the inputs' names unless there is another `name`. `following` says which further
    values an edit brings with it. Fields `in_front` are not among the advanced ones;
    those of `parts` have inputs of the page's own.
    """

    edited = Signal(object)  # the config, after the user changed something
    refused = Signal(object)  # the ConfigError, where the values make no config

    def __init__(
        self,
        part: str,
        kind: type[Any],
        following: Following = _nothing_follows,
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
        self._before: Values = {}  # what they said last
        self._rows: dict[str, _FieldRow] = {}
        self._problem = problem_label()
        self._problem.setObjectName(f"{self._name}_form_problem")
        plain, advanced = _grid(), _grid()
        self._settings = settings_of(kind)
        apart = {name for part in self._parts for name in part.names}
        for part_of_page in self._parts:
            part_of_page.edited.connect(self._on_edited)
        for name, setting in self._settings.items():
            if setting.type in (str, bool) or name in apart:
                continue
            is_advanced = setting.option.advanced and name not in in_front
            grid = advanced if is_advanced else plain
            self._add_field(grid, setting)
        widest = max(
            (r.label.sizeHint().width() for r in self._rows.values()), default=0
        )
        for grid in (plain, advanced):  # so that both line up
            grid.setColumnMinimumWidth(0, widest)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        if plain.count():
            layout.addLayout(plain)
        layout.addWidget(self._problem)
        if advanced.count():
            content = QWidget()
            content.setLayout(advanced)
            opener = f"{self._name}_advanced_button"
            layout.addWidget(Collapsible(tr("Advanced"), opener, content))
        self.show_config(self._config)

    def show_config(self, config: Any) -> None:
        """Show a config, but not over what is being typed; emits no signal.

        Settings that the config does not have get their defaults, except after an edit:
        then they keep their values, so that a choice can be taken back.
        """
        others = {name: each.default for name, each in self._settings.items()}
        if config == self._config:
            others |= self.values()
        self._config = config
        show_problem(self._problem, "")
        self._show(others | values_of(config))

    def values(self) -> dict[str, Any]:
        """What the inputs say, whether or not it goes together."""
        values = {name: entry.value for name, entry in self._inputs.items()}
        for part in self._parts:
            values |= part.values()
        return values

    def config(self) -> Any:
        """What the inputs say, with everything else as it was last shown.

        Raises:
            ConfigError: the values do not go together.
        """
        return with_values(self._config, self.values())

    def field(self, name: str) -> QWidget:
        """The widget of a field."""
        return self._inputs[name].widget

    def add_below(self, name: str, widget: QWidget) -> None:
        """Put a widget of the page's own under the row of a field."""
        row = self._rows[name]
        row.below += 1
        assert row.below <= _MAX_BELOW
        row.grid.addWidget(widget, row.number + row.below, 0, 1, 2)
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            QWidget.setTabOrder(row.field, widget)

    def disable_choices(self, name: str, reasons: Mapping[Any, str]) -> None:
        """Take choices of a field away, each for a reason that is shown with it."""
        entry = self._inputs[name]
        assert isinstance(entry, ChoiceInput)
        entry.disable(reasons)

    def edit(self, name: str, value: Any) -> None:
        """Give a field a value, as if the user had entered it."""
        self._inputs[name].show(value)
        self._on_edited()

    def _add_field(self, grid: QGridLayout, setting: Setting) -> None:
        words = FIELDS[f"{self._part}.{setting.name}"]
        entry = make_input(setting.type, setting.option.limits, words)
        entry.widget.setObjectName(f"{self._name}_{setting.name}")
        entry.widget.setAccessibleName(words.label)
        entry.widget.setAccessibleDescription(words.tip)
        entry.widget.setToolTip(words.tip)
        label = QLabel(words.label)
        label.setToolTip(words.tip)
        label.setBuddy(entry.widget)
        label.setMinimumHeight(_INPUT_HEIGHT)
        entry.widget.setMinimumHeight(_INPUT_HEIGHT)
        entry.show(setting.default)
        entry.edited.connect(self._on_edited)
        self._inputs[setting.name] = entry
        number = len(self._rows) * (1 + _MAX_BELOW)
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
            row.show_if(is_there and row.setting.option.applies(config))

    @Slot()
    def _on_edited(self) -> None:
        after = self.values()
        if after == self._before:
            return
        self._show({**after, **self._following(self._before, after)})
        try:
            config = self.config()
        except ConfigError as error:
            show_problem(self._problem, f"{error.message} {error.hint}".strip())
            self.refused.emit(error)
            return
        show_problem(self._problem, "")
        self._config = config
        self.edited.emit(config)


def _unchecked(config: Any, values: Values) -> Any:
    """Return a config with these plain fields, even if they do not go together."""
    made = object.__new__(type(config))
    for field in fields_of(type(config)):
        value = getattr(config, field.name)
        if not field.members:
            value = values.get(field.name, value)
        object.__setattr__(made, field.name, value)
    return made


def _grid() -> QGridLayout:
    grid = QGridLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setSpacing(GAP)
    grid.setColumnStretch(1, 1)
    return grid
