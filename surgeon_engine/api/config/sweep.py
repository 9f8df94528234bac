"""Sweeps: a job with several values of some settings, a run for each combination."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import re
import typing
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from surgeon_engine.api.config.fields import (
    Setting,
    check_kinds,
    unknown_setting,
    wrong_type,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import check_choice, settings_of_part
from surgeon_engine.base.decoding import convert
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say

MAX_RUNS = 1_000  # at two minutes each, more than a day
_MAX_NAME = 100  # characters
_EXAMPLE = say("Write it as pruning.sparsity=0.1,0.2,0.3.")
_DESTINATION = "export.folder"


@dataclass(frozen=True, slots=True)
class Variation:
    """One of the jobs of a sweep."""

    name: str  # such as "pruning.sparsity=0.2, pruning.method=wanda"
    config: RunConfig

    @property
    def folder_name(self) -> str:
        """The name for the folder of its run."""
        name = re.sub(r"[^A-Za-z0-9.=_-]+", "_", self.name)
        if len(name) <= _MAX_NAME:
            return name
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:12]
        return f"{name[:_MAX_NAME]}_{digest}"


@dataclass(frozen=True, slots=True)
class Axis:
    """A setting and the values that it takes in a sweep."""

    part: str  # part of the job, such as "pruning"
    setting: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The name of the setting with its part."""
        return f"{self.part}.{self.setting}"


def combinations(config: RunConfig, axes: Sequence[Axis]) -> tuple[Variation, ...]:
    """Return a job for each combination of values; the last axis varies fastest.

    Raises:
        ConfigError: a setting cannot have such a value, or several runs would write to
            one folder.
    """
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_RUNS:
        raise ConfigError(
            "The sweep has {count:,} runs, and may have {most:,}.",
            "Give fewer settings, or fewer values.",
            count=count,
            most=MAX_RUNS,
        )
    names = [axis.name for axis in axes]
    if len(set(names)) < len(names):
        raise ConfigError("A setting is varied twice.", "Give all its values at once.")
    found = []
    for values in itertools.product(*(axis.values for axis in axes)):
        chosen = dict(zip(names, values, strict=True))
        name = ", ".join(f"{key}={value}" for key, value in chosen.items())
        found.append(Variation(name, _varied(config, axes, values)))
    _check_destinations(found)
    return tuple(found)


def _check_destinations(found: Sequence[Variation]) -> None:
    folders = (each.config.export.folder for each in found)
    for folder, runs in Counter(filter(None, folders)).items():
        if runs > 1:
            raise ConfigError(
                "{runs:,} runs would write to {folder}.",
                say(
                    "Leave {folder} out: each run then writes to its own.",
                    folder=_DESTINATION,
                ),
                runs=runs,
                folder=folder,
            )


def parse_axis(text: str) -> Axis:
    """Parse a setting with its values, such as "pruning.sparsity=0.1,0.2".

    Raises:
        ConfigError: there is no such setting, or it cannot have such a value.
    """
    name, equals, values = text.partition("=")
    part, _, setting = name.strip().partition(".")
    if not equals or not setting:
        raise ConfigError(
            "{text:shown} names no setting and values.", _EXAMPLE, text=text
        )
    known = settings_of_part(part)
    if setting not in known:
        raise unknown_setting(part, setting, known)
    if typing.get_origin(known[setting].type) is tuple:
        raise ConfigError(
            "{name} is a list, which a sweep cannot vary.",
            "Write it in the job file.",
            name=name,
        )
    found = tuple(
        _value(name, known[setting], each.strip())
        for each in values.split(",")
        if each.strip()
    )
    if not found:
        raise ConfigError("{text:shown} has no values.", _EXAMPLE, text=text)
    return Axis(part, setting, found)


def _value(name: str, setting: Setting, text: str) -> Any:
    check_choice(name, setting.type, text)
    try:
        return convert(text, setting.type, strict=False)
    except msgspec.ValidationError as error:
        raise wrong_type(name, text, error, setting) or ConfigError(
            "{name} cannot be {text:shown}: {why}.",
            "See the job files in README.md.",
            name=name,
            text=text,
            why=error,
        ) from error


def _varied(
    config: RunConfig, axes: Sequence[Axis], values: Sequence[Any]
) -> RunConfig:
    """Return the job with a value for each axis."""
    parts: dict[str, dict[str, Any]] = {}
    for axis, value in zip(axes, values, strict=True):
        parts.setdefault(axis.part, {})[axis.setting] = value
    for part, chosen in parts.items():
        held = dataclasses.replace(getattr(config, part), **chosen)
        check_kinds(held, chosen)
        config = dataclasses.replace(config, **{part: held})
    return config
