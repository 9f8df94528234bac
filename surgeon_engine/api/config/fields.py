"""Fields of configs: their ranges, and the flat view that forms and job files use.

A config is a frozen dataclass. A field may hold one of several kinds of a `Member`,
each with settings of its own:

    target: Annotated[PrunableShare | FileSize, Option(kinds=Target)] = PrunableShare()

The *settings* of a config are flat: one name for the kind (`target`) and one for each
field of each member (`sparsity`, `megabytes`). A config has those of the members that
it holds.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast

import msgspec

from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.paths import check_path
from surgeon_engine.base.sentences import reworded, say

_MAX_ENTRIES = 1_000  # of a list
_WRONG_TYPE = re.compile(r"Expected `(\w+)(?: \| null)?`, got `")
_TYPES = {
    "float": say("a number"),
    "int": say("a whole number"),
    "bool": say("true or false"),
    "str": say("a text in quotes"),
    "array": say("a list in square brackets"),
    "object": say("a table"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The range of a number, from `low` to `high`; an open end is not in it."""

    low: float
    high: float
    low_is_open: bool = False
    high_is_open: bool = False

    def contain(self, value: float) -> bool:
        """Return True if `value` is in the range."""
        above = value > self.low if self.low_is_open else value >= self.low
        below = value < self.high if self.high_is_open else value <= self.high
        return above and below

    @property
    def words(self) -> str:
        """The range in a sentence, after "must be"."""
        low, high = (
            int(end) if float(end).is_integer() else end
            for end in (self.low, self.high)
        )
        return say(
            "{low} and {high}",
            low=say("more than {n:,}", n=low)
            if self.low_is_open
            else say("at least {n:,}", n=low),
            high=say("less than {n:,}", n=high)
            if self.high_is_open
            else say("at most {n:,}", n=high),
        )


@dataclass(frozen=True, slots=True)
class Option:
    """Metadata of a field: range and form hints."""

    limits: Limits | None = None
    advanced: bool = False
    name: str = ""  # of the setting, where it is another than that of the field
    kinds: type[StrEnum] | None = None  # of the members that the field can hold
    used_if: str = ""  # an attribute of the whole config; empty: always

    def applies(self, config: Any) -> bool:
        """Return True if a config uses the setting."""
        return not self.used_if or bool(getattr(config, self.used_if))


class Member(msgspec.Struct, frozen=True, tag_field="kind"):
    """Base class of the variants of a config field."""

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a config or of a member."""

    name: str  # of the attribute
    setting: str  # its flat name
    type: Any  # without the annotation; of a field with kinds: their enumeration
    default: Any
    option: Option
    members: Mapping[str, type[Member]]  # by kind; empty: a plain field


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in the flat view of a config."""

    name: str
    type: Any
    default: Any
    option: Option
    choice: str = ""  # the setting on whose kind it depends; empty: on none
    kinds: tuple[str, ...] = ()  # of that one, with which it is there

    def is_in(self, values: Mapping[str, Any]) -> bool:
        """Return True if a config with these settings has this one."""
        return not self.choice or values[self.choice] in self.kinds


_Function = TypeVar("_Function", bound=Callable[..., Any])


def _cached(function: _Function) -> _Function:
    """Cache the results of a function of types, which mypy does not call hashable."""
    return cast(_Function, functools.cache(function))


@_cached
def fields_of(kind: type[Any]) -> tuple[Field, ...]:
    """Return the fields of a config or of a member."""
    hints = typing.get_type_hints(kind, include_extras=True)
    is_member = issubclass(kind, Member)
    found = msgspec.structs.fields(kind) if is_member else dataclasses.fields(kind)
    return tuple(_field(each.name, hints[each.name], each.default) for each in found)


@_cached
def settings_of(kind: type[Any]) -> Mapping[str, Setting]:
    """Return all settings that a config can have, by their flat names.

    A setting of several members has the range and the default of the first.
    """
    settings: dict[str, Setting] = {}
    for field in fields_of(kind):
        default = _kind_of(field.default) if field.members else None
        settings[field.setting] = Setting(
            field.setting,
            field.type,
            field.type(default) if field.members else field.default,
            field.option,
        )
        for choice, member in field.members.items():
            for own in fields_of(member):
                first = settings.get(own.setting)
                kinds = (*first.kinds, choice) if first else (choice,)
                settings[own.setting] = Setting(
                    own.setting,
                    own.type,
                    first.default if first else own.default,
                    own.option,
                    field.setting,
                    kinds,
                )
    return settings


def values_of(config: Any) -> dict[str, Any]:
    """Return the settings that a config has, by their flat names."""
    values: dict[str, Any] = {}
    for field in fields_of(type(config)):
        value = getattr(config, field.name)
        if not field.members:
            values[field.setting] = value
            continue
        values[field.setting] = field.type(_kind_of(value))
        for own in fields_of(type(value)):
            values[own.setting] = getattr(value, own.name)
    return values


def values_in_use(config: Any) -> dict[str, Any]:
    """Return the settings that a config has and uses, by their flat names."""
    settings = settings_of(type(config))
    return {
        name: value
        for name, value in values_of(config).items()
        if settings[name].option.applies(config)
    }


_Config = TypeVar("_Config")


def with_values(config: _Config, values: Mapping[str, Any]) -> _Config:
    """Return a config with these settings, by their flat names.

    Settings that the config does not have with them are left out.

    Raises:
        ConfigError: The values are out of range, or do not go together.
    """
    changes: dict[str, Any] = {}
    for field in fields_of(type(config)):
        if field.members:
            held = getattr(config, field.name)
            member = field.members[values.get(field.setting, _kind_of(held))]
            changes[field.name] = member(
                **{
                    own.name: values.get(
                        own.setting, getattr(held, own.name, own.default)
                    )
                    for own in fields_of(member)
                }
            )
        elif field.setting in values:
            changes[field.name] = values[field.setting]
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def unknown_setting(part: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a setting that a part of a job does not have."""
    hint = say("Its settings are {known}.", known=", ".join(known))
    if (part, name) == ("export", "replace"):
        hint = say("Delete this line. Allow it when you start the run.")
    return ConfigError(
        "{part} has no setting called {name}.", hint, part=part, name=repr(name)
    )


def check_limits(config: Any) -> None:
    """Check the numbers and texts of a config or of a member.

    Raises:
        ConfigError: A number is out of its range, or a text cannot be a name or path.
    """
    for field in fields_of(type(config)):
        limits, value = field.option.limits, getattr(config, field.name)
        if isinstance(value, tuple):
            _check_texts(field.setting, value)
        elif isinstance(value, str):
            check_path(field.setting, value)
        if limits is not None and not limits.contain(value):
            is_share = limits.high <= 1 < value and limits.contain(value / 100)
            raise ConfigError(
                "{setting} is {given:,}, and must be {limits}.",
                say("{given:g} % is {share:g}.", given=value, share=value / 100)
                if is_share
                else "",
                setting=field.setting,
                limits=limits.words,
                given=value,
            )


def wrong_type(
    name: str, given: object, error: msgspec.ValidationError, setting: Setting | None
) -> ConfigError | None:
    """Return the error of a value of a wrong type; None: it is of another kind.

    Args:
        name: Of the setting, as people write it.
        given: The value.
        error: What msgspec says.
        setting: The setting, if it is a known one.
    """
    found = _WRONG_TYPE.match(str(error))
    kind = _TYPES.get(found[1]) if found else None
    if kind is None:
        return None
    limits = setting.option.limits if setting is not None else None
    return ConfigError(
        "{name} is {given}, and must be {kind}."
        if limits is None
        else "{name} is {given}, and must be {kind}, {limits}.",
        say("Numbers are written without quotes and units.")
        if found and found[1] in ("float", "int") and isinstance(given, str)
        else "",
        name=name,
        given=str(given).lower() if isinstance(given, bool) else repr(given),
        kind=reworded(kind),
        limits=limits.words if limits is not None else "",
    )


def _check_texts(setting: str, values: tuple[Any, ...]) -> None:
    if len(values) > _MAX_ENTRIES:
        raise ConfigError(
            "{setting} has {values:,} entries, and may have {most:,}.",
            "Leave some out.",
            setting=setting,
            values=len(values),
            most=_MAX_ENTRIES,
        )
    for value in values:
        if isinstance(value, str):
            check_path(setting, value)


def _kind_of(member: Member | type[Member]) -> str:
    return str(member.__struct_config__.tag)


def _field(name: str, hint: Any, default: Any) -> Field:
    option = Option()
    if typing.get_origin(hint) is typing.Annotated:
        hint, *annotations = typing.get_args(hint)
        option = next(each for each in annotations if isinstance(each, Option))
    members: dict[str, type[Member]] = {}
    if option.kinds is not None:
        members = {_kind_of(each): each for each in typing.get_args(hint)}
        hint = option.kinds
    return Field(name, option.name or name, hint, default, option, members)
