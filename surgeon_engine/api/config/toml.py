"""Configs as TOML: the job files that users save, edit and run.

A job begins with the version of its format and may leave out settings that have their
default values. A file that holds nothing is refused.

    [pruning]
    structure = "n_m"
    pattern = "2:4"
    sparsity = 0.5

Unknown names are errors, and so are settings of kinds that the job does not have.
"""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import msgspec

from surgeon_engine.api.config.calibration import MoreText
from surgeon_engine.api.config.fields import (
    Setting,
    check_kinds,
    close_name,
    settings_of,
    unknown_setting,
    values_of,
    written,
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
from surgeon_engine.base.sentences import say, say_all, say_list
from surgeon_engine.base.versions import JOB, OtherVersionError, check_version

TOML_LIMIT = 1 << 20  # bytes of a job or preset
_MAX_PARTS = 1_000  # parts of the keys in a line
_MAX_ERRORS = 10  # errors that are listed
_PARTS: dict[str, type[Any]] = typing.get_type_hints(RunConfig)
_STEP = re.compile(r"[^.\[\]`]+")  # a key or an index in the path to a value
# Texts of several lines, texts of one line, and comments. A text may lack its end:
# otherwise its quotes would be tried as beginnings of others, which would take hours.
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
        ConfigError: Names are unknown, or values have a wrong type or are out of range.
    """
    try:
        return _config_of(values)
    except ConfigError:
        found = [*itertools.islice(_problems(values), _MAX_ERRORS)]
        if not found:
            raise
    if len(found) == 1:
        place, error = found[0]
        raise ConfigError(
            say_all(place, error.message), error.hint, settings=error.settings
        )
    lines = (say_all(place, error.message, error.hint) for place, error in found)
    raise ConfigError(say_list(*lines, separator="\n"))


def _problems(values: Mapping[str, Any]) -> Iterator[tuple[str, ConfigError]]:
    """Yield the place and the error of each wrong setting, whatever others are."""
    for part, given in values.items():
        tables = [given]
        if part in _PARTS and isinstance(given, Mapping):
            settings = settings_of(_PARTS[part])
            choices = {each.choice for each in settings.values()} & settings.keys()
            choices &= given.keys()
            chosen = {x: given[x] for x in choices if given[x] in [*settings[x].type]}
            tables = [{**chosen, name: value} for name, value in given.items()]
        for table in tables:
            try:
                _config_of({part: table})
            except ConfigError as error:
                if len(error.settings) < 2:
                    # Errors that know their setting do not name its part.
                    place = f"[{part}]" if error.settings else ""
                    yield place, error


def _config_of(values: Mapping[str, Any]) -> RunConfig:
    for part, given in values.items():
        _check_names(part, settings_of_part(part), given)
    try:
        config: RunConfig = convert(values, RunConfig)
    except msgspec.ValidationError as error:
        # msgspec wraps the errors of __post_init__, whose messages are better.
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise _type_error(values, error) from error
    for part, given in values.items():
        check_kinds(getattr(config, part), given)
    return config


def _type_error(
    values: Mapping[str, Any], error: msgspec.ValidationError
) -> ConfigError:
    """Return an error that names the setting, its value, and what it may be."""
    _, _, path = str(error).partition(" - at `$.")
    steps, given = _STEP.findall(path), cast(Any, values)
    for step in steps:
        given = given[int(step) if isinstance(given, list) else step]
    name = ".".join(step for step in steps if not step.isdecimal())
    kind = MoreText if "more_texts" in steps else _PARTS[steps[0]]
    setting = settings_of(kind).get(steps[-1])
    if steps[-1].isdecimal():
        name = say("An entry of {name}", name=name)
    found = wrong_type(name, given, error, setting)
    return found or ConfigError("Invalid job file: {error:clause}.", error=error)


def decode_toml(name: str, text: str) -> dict[str, Any]:
    """Return the values of a text in TOML, of whatever kinds.

    `name` is the subject of the error, such as "The job".

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
        if not job:  # cut off, perhaps by a full disk: it would prune the demo
            raise UnreadableFileError("{path} is an empty job.", path=path)
        check_job_version("The job", job)
        config = with_paths_from(path.parent, config_from_values(job))
        if config.pruning.structure is not PruningConfig().structure:
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
        listed = say("Choose one of: {choices}.", choices=", ".join(choices))
        raise ConfigError(
            "{name} has no choice called {value:shown}.",
            say_all(listed, say("Settings of a choice stand beside it."))
            if isinstance(value, Mapping)
            else say_all(close_name(value, choices), listed),
            name=name,
            value=value if isinstance(value, str) else written(value),
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


def settings_of_part(part: str) -> Mapping[str, Setting]:
    """Return the settings of a part of a job.

    Raises:
        ConfigError: There is no such part.
    """
    if part not in _PARTS:
        raise ConfigError(
            "The job has no part called {part:shown}.",
            close_name(part, _PARTS)
            or say("The parts are {parts}.", parts=", ".join(_PARTS)),
            part=part,
        )
    return settings_of(_PARTS[part])


def _check_names(part: str, settings: Mapping[str, Setting], given: Any) -> None:
    """Check the names in a part of a job, which msgspec would ignore, and choices."""
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if name not in settings:
            raise unknown_setting(part, name, settings)
        check_choice(f"{part}.{name}", settings[name].type, value)
        if name == "more_texts" and isinstance(value, list):
            for entry in value:
                _check_names(f"{part}.{name}", settings_of(MoreText), entry)
