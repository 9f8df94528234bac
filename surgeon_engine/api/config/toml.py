"""Configs as TOML: the job files that users save, edit and run.

A job begins with the version of its format and may leave out every setting that has
its default value. The settings are flat: those of a structure stand beside its kind.

    [pruning]
    structure = "n_m"
    pattern = "2:4"
    sparsity = 0.5

Unknown names are errors.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import msgspec

from surgeon_engine.api.config.calibration import MoreText
from surgeon_engine.api.config.fields import (
    fields_of,
    settings_of,
    unknown_setting,
    values_of,
    wrong_type,
)
from surgeon_engine.api.config.paths import with_paths_from
from surgeon_engine.api.config.pruning import OF_EXPERTS, PruningConfig
from surgeon_engine.api.config.purposes import Purpose, structure_for
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.model_info.header import model_facts
from surgeon_engine.base.decoding import convert
from surgeon_engine.base.errors import ConfigError, UnreadableFileError
from surgeon_engine.base.reading import read_text
from surgeon_engine.base.sentences import say
from surgeon_engine.base.versions import JOB, OtherVersionError, check_version

TOML_LIMIT = 1 << 20  # bytes of a job or preset
_MAX_PARTS = 1_000  # of the keys in a line
_PARTS: dict[str, type[Any]] = typing.get_type_hints(RunConfig)
# Texts of several lines, texts of one line, and comments. A text may lack its end, so
# that the quotes in it are not tried as beginnings of others, which would take hours.
_NO_KEYS = re.compile(
    r'''"""(?:[^\\]|\\.)*?(?:"{3,5}|\\?\Z)'''
    r"|'''.*?(?:'{3,5}|\Z)"
    r"""|"(?:[^"\\\n]|\\[^\n])*"?|'[^'\n]*'?|#[^\n]*""",
    re.DOTALL,
)


def config_from_toml(text: str) -> RunConfig:
    """Return the config that a job in TOML describes.

    Settings that `text` leaves out have their defaults.

    Raises:
        ConfigError: The text is not TOML, has another version, or an unknown name, a
            wrong type or a value out of range.
    """
    job = decode_toml(say("The job"), text)
    check_job_version("The job", job)
    return config_from_values(job)


def check_job_version(name: str, job: dict[str, Any]) -> None:
    """Check the version of a decoded job or preset, and remove it from the values.

    Files that people write may leave it out: then they are read as this version.

    Raises:
        ConfigError: It is another one.
    """
    try:
        check_version(name, job.pop("version", JOB), JOB)
    except OtherVersionError as error:
        raise ConfigError(error.message, error.hint) from error


def config_from_values(values: Mapping[str, Any]) -> RunConfig:
    """Return the config that a decoded job without a version describes.

    Raises:
        ConfigError: An unknown name, a wrong type or a value out of range.
    """
    parts = {part: _part_of(part, given) for part, given in values.items()}
    try:
        return convert(parts, RunConfig)
    except msgspec.ValidationError as error:
        # msgspec wraps the errors of __post_init__, whose messages are better.
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise _type_error(parts, error) from error


def _type_error(
    values: Mapping[str, Any], error: msgspec.ValidationError
) -> ConfigError:
    """Return an error that names the setting, its value, and what it may be."""
    _, _, path = str(error).partition(" - at `$.")
    names, given = path.rstrip("`").split("."), cast(Any, values)
    for name in names:
        given = given.get(name) if isinstance(given, Mapping) else None
    found = None
    if given is not None:
        setting = settings_of(_PARTS[names[0]]).get(names[-1])
        shown = ".".join(dict.fromkeys((names[0], names[-1])))
        found = wrong_type(shown, given, error, setting)
    return found or ConfigError("Invalid job file: {error:clause}.", error=error)


def decode_toml(name: str, text: str) -> dict[str, Any]:
    """Return the values of a text in TOML, of whatever kinds.

    Args:
        name: The subject of the error, such as "The job".
        text: The text.

    Raises:
        ConfigError: The text is not TOML, or reading it would not end.
    """
    try:
        _check_keys(text)
        values: dict[str, Any] = msgspec.toml.decode(text)
    except ValueError as error:
        raise ConfigError(
            "{name} is not valid TOML: {error:clause}.", name=name, error=error
        ) from error
    except RecursionError as error:
        raise ConfigError(
            "{name} is not valid TOML: it is nested too deeply.", name=name
        ) from error
    return values


def config_to_toml(config: RunConfig) -> str:
    """Return TOML from which `config_from_toml` makes an equal config."""
    parts = {part: values_of(getattr(config, part)) for part in _PARTS}
    return msgspec.toml.encode({"version": JOB, **parts}).decode()


def read_config(path: Path) -> RunConfig:
    """Return the config in a job file; its relative paths start at the file.

    The structure of a job that names none depends on its model, if its files are here.

    Raises:
        ConfigError: The file cannot be read, or holds no valid job.
    """
    try:
        job = decode_toml(say("The job"), read_text(path, TOML_LIMIT))
        check_job_version("The job", job)
        config = with_paths_from(path.parent, config_from_values(job))
        if config.pruning.kind is not PruningConfig().kind:
            return config
        facts = model_facts(config.model.source)
        if facts is None or not facts.experts:
            return config
        usual = structure_for(Purpose.SMALLER, OF_EXPERTS)
        job.setdefault("pruning", {}).setdefault("structure", usual.value)
        return with_paths_from(path.parent, config_from_values(job))
    except UnreadableFileError as error:
        raise ConfigError(
            error.message, "Save one in the window, or see the README for the format."
        ) from error
    except ConfigError as error:
        raise ConfigError(
            "{path}: {error}", error.hint, path=path, error=error
        ) from error


def check_choice(name: str, kind: Any, value: Any) -> None:
    """Raise ConfigError for a value that is none of the choices of a setting."""
    if not (isinstance(kind, type) and issubclass(kind, StrEnum)):
        return
    choices = [each.value for each in kind]
    if value not in choices:
        raise ConfigError(
            "{name} has no choice called {value}.",
            "Choose one of: {choices}. Settings of a choice stand beside it."
            if isinstance(value, Mapping)
            else "Choose one of: {choices}.",
            name=name,
            value=repr(value),
            choices=", ".join(choices),
        )


def _check_keys(text: str) -> None:
    """Raise ValueError for keys of so many parts that reading them would not end."""
    rest = _NO_KEYS.sub("", text)
    parts = max((line.count(".") for line in rest.splitlines()), default=0)
    if parts > _MAX_PARTS:
        raise ValueError(
            say(
                "a line of it has {parts:,} dots outside of texts, and {most:,} are "
                "possible",
                parts=parts,
                most=_MAX_PARTS,
            )
        )


def _part_of(part: str, values: Any) -> Any:
    """Return a part of a job as msgspec reads it, with a table for each member.

    Raises:
        ConfigError: A name is unknown, which msgspec would ignore, or of another kind.
    """
    if part not in _PARTS:
        raise ConfigError(
            "The job has no part called {part}.",
            "The parts are {parts}.",
            part=repr(part),
            parts=", ".join(_PARTS),
        )
    if not isinstance(values, Mapping):
        return values
    _check_settings(part, _PARTS[part], values)
    found = dict(values)
    for field in fields_of(_PARTS[part]):
        if field.members:
            usual = field.default.__struct_config__.tag
            kind = found.pop(field.setting, usual)
            own = fields_of(field.members[kind])
            given = {x.name: found.pop(x.setting) for x in own if x.setting in found}
            found[field.name] = {"kind": kind, **given}
    return found


def _check_settings(part: str, kind: type[Any], values: Mapping[str, Any]) -> None:
    settings = settings_of(kind)
    defaults = {name: setting.default for name, setting in settings.items()}
    chosen = {**defaults, **values}
    for name, value in values.items():
        if name not in settings:
            raise unknown_setting(part, name, settings)
        setting = settings[name]
        check_choice(f"{part}.{name}", setting.type, value)
        if not setting.is_in(chosen):
            raise ConfigError(
                "{name} belongs to another {choice} than that of this job.",
                "Leave it out, or set {choice} to one of: {kinds}.",
                name=name,
                choice=setting.choice,
                kinds=", ".join(setting.kinds),
            )
        if name == "more_texts" and isinstance(value, list):
            for entry in value:
                if isinstance(entry, Mapping):
                    _check_settings(f"{part}.{name}", MoreText, entry)
