"""Settings of configs, their ranges, and the choices on which they depend.

A config is a frozen dataclass, and its fields are the settings that forms and job files
have. Some settings are there with some kinds of another one only:

    target: Target = Target.PRUNABLE_SHARE
    megabytes: Annotated[float, Option(_SIZE, kinds=(Target.FILE_SIZE,))] = 400.0

With other kinds a config holds the default, so that equal jobs compare equal, and
`check_kinds` refuses a value that somebody gives.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast

import msgspec

from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.paths import check_path
from surgeon_engine.base.sentences import reworded, say, say_list

_MAX_ENTRIES = 1_000  # entries of a list
_CLOSE = 0.8  # a typing error: q3_k is not q6_k
_WRONG_TYPE = re.compile(r"Expected `(\w+)(?: \| null)?`, got `")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
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
    """Metadata of a setting: range and form hints."""

    limits: Limits | None = None
    advanced: bool = False
    kinds: tuple[StrEnum, ...] = ()  # choices that have it; empty: all of them
    used_if: str = ""  # an attribute of the config; empty: always
    # Raises ConfigError for a wrong text; called for each entry of a list.
    parse: Callable[[Any], object] | None = None

    def applies(self, config: Any) -> bool:
        """Return True if a config uses the setting."""
        return not self.used_if or bool(getattr(config, self.used_if))


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a config."""

    name: str
    type: Any  # without the annotation
    default: Any
    option: Option
    choice: str  # the setting on whose kind it depends; empty: on none

    def is_in(self, values: Mapping[str, Any]) -> bool:
        """Return True if a config with these settings has this one."""
        return not self.choice or values[self.choice] in self.option.kinds


_Function = TypeVar("_Function", bound=Callable[..., Any])


def _cached(function: _Function) -> _Function:
    """Cache the results of a function of types, which mypy does not call hashable."""
    return cast(_Function, functools.cache(function))


@_cached
def settings_of(kind: type[Any]) -> Mapping[str, Setting]:
    """Return all settings that a config can have, by name."""
    settings: dict[str, Setting] = {}
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint, option = hints[field.name], Option()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *annotations = typing.get_args(hint)
            option = next(each for each in annotations if isinstance(each, Option))
        of = {type(each) for each in option.kinds}  # each choice is an enum of its own
        choices = (x.name for x in settings.values() if x.type in of)
        choice = next(choices) if of else ""  # it comes first
        settings[field.name] = Setting(field.name, hint, field.default, option, choice)
    return settings


def values_of(config: Any) -> dict[str, Any]:
    """Return the settings that a config has, by name."""
    settings = settings_of(type(config))
    values = {name: getattr(config, name) for name in settings}
    return {name: x for name, x in values.items() if settings[name].is_in(values)}


def values_in_use(config: Any) -> dict[str, Any]:
    """Return the settings that a config has and uses, by name."""
    settings = settings_of(type(config))
    return {
        name: value
        for name, value in values_of(config).items()
        if settings[name].option.applies(config)
    }


def reset_others(config: Any) -> None:
    """Give settings that a new config does not have their defaults."""
    held = values_of(config)
    for name, setting in settings_of(type(config)).items():
        if name not in held:
            object.__setattr__(config, name, setting.default)


def check_kinds(config: Any, given: Iterable[str]) -> None:
    """Check that a config has the given settings.

    Raises:
        ConfigError: One belongs to other kinds.
    """
    settings, held = settings_of(type(config)), values_of(config)
    for name in given:
        if name not in held:
            kinds = settings[name].option.kinds
            raise ConfigError(
                "{name} does not belong to the {choice} of this job.",
                "Leave it out, or set {choice} to {kinds}."
                if len(kinds) == 1
                else "Leave it out, or set {choice} to one of: {kinds}.",
                settings=(name, settings[name].choice),
                name=name,
                choice=settings[name].choice,
                kinds=", ".join(kinds),
            )


def unknown_setting(part: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a setting that a part of a job does not have."""
    known = [*known]
    listed = say("Its settings are {known}.", known=", ".join(known))
    hint = close_name(name, known) or listed
    if (part, name) == ("export", "replace"):
        hint = say("Delete this line. Allow it when you start the run.")
    return ConfigError(
        "{part} has no setting called {name:shown}.", hint, part=part, name=name
    )


def close_name(given: object, known: Iterable[str]) -> str:
    """Return the question whether a name like a given one was meant, or empty."""
    found = difflib.get_close_matches(str(given), known, 1, _CLOSE)
    return say("Did you mean {name:shown}?", name=found[0]) if found else ""


def check_limits(config: Any) -> None:
    """Check the numbers and texts of a config.

    Raises:
        ConfigError: A number is out of its range, or a text cannot be a name or path.
    """
    for error in limit_errors(config):
        raise error


def limit_errors(config: Any) -> Iterator[ConfigError]:
    """Yield the error of each number and text that `check_limits` refuses."""
    for name, setting in settings_of(type(config)).items():
        try:
            _check_value(name, getattr(config, name), setting.option)
        except ConfigError as error:
            error.settings = (name,)
            yield error


def _check_value(name: str, value: Any, option: Option) -> None:
    entries = value if isinstance(value, tuple) else (value,)
    if len(entries) > _MAX_ENTRIES:
        raise ConfigError(
            "{setting} has {values:,} entries, and may have {most:,}.",
            "Leave some out.",
            setting=name,
            values=len(entries),
            most=_MAX_ENTRIES,
        )
    for entry in entries:
        if isinstance(entry, str):
            check_path(name, entry)
        if option.parse:
            option.parse(entry)
    limits = option.limits
    if limits is not None and not limits.contain(value):
        is_share = limits.high <= 1 < value and limits.contain(value / 100)
        raise ConfigError(
            "{setting} is {given:,}, and must be {limits}.",
            say("{given:g} % is {share:g}.", given=value, share=value / 100)
            if is_share
            else "",
            setting=name,
            limits=limits.words,
            given=value,
        )


def written(value: object) -> str:
    """Return a value as TOML has it in one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{x} = {written(y)}' for x, y in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return json.dumps(value) if isinstance(value, str) else str(value).lower()


def wrong_type(
    name: str, given: object, error: msgspec.ValidationError, setting: Setting | None
) -> ConfigError | None:
    """Return the error of a value of a wrong type; None: it is of another kind.

    `error` is what msgspec says of it, `setting` the setting if it is a known one.
    """
    if missing := _MISSING.match(str(error)):
        return ConfigError("{name} has no {field}.", name=name, field=missing[1])
    found = _WRONG_TYPE.match(str(error))
    kind = _TYPES.get(found[1]) if found else None
    if kind is None:
        return None
    limits = setting.option.limits if setting is not None else None
    shown, hint = written(given), ""
    if isinstance(given, str):
        shown = say_list(given, spec="shown")
        if found and found[1] in ("float", "int"):
            hint = say("Numbers are written without quotes and units.")
    return ConfigError(
        "{name} is {given}, and must be {kind}."
        if limits is None
        else "{name} is {given}, and must be {kind}, {limits}.",
        hint,
        name=name,
        given=shown,
        kind=reworded(kind),
        limits=limits.words if limits is not None else "",
    )
