"""Configs as TOML: what a person saves, edits and runs again.

A job may leave out whatever has its default, and names nothing that does not exist.
Imports neither torch nor Qt.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.model_info.source_names import DEMO, is_hub_source


def config_from_toml(text: str) -> RunConfig:
    """The config that `text` describes; what it leaves out has its default.

    Raises:
        ConfigError: not TOML, an unknown name, a wrong type or a value out of range.
    """
    try:
        data = msgspec.toml.decode(text)
        _check_names(data)
        return msgspec.convert(data, RunConfig)
    except msgspec.ValidationError as error:
        # msgspec wraps what __post_init__ raises; our own sentence is the better one.
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise ConfigError(f"The job does not fit: {error}.") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"The job is not valid TOML: {error}.") from error


def config_to_toml(config: RunConfig) -> str:
    """TOML from which `config_from_toml` makes an equal config."""
    return msgspec.toml.encode(config).decode()


def read_config(path: Path) -> RunConfig:
    """The config in the file at `path`; its relative paths start at the file.

    Raises:
        ConfigError: no such file, or see `config_from_toml`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The job {path} cannot be read: {error.strerror}.",
            "Save one in the window, or see the README for what it holds.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The job {path} is not text: {error}.", "Choose a TOML file."
        ) from error
    return _with_paths_from(path.parent, config_from_toml(text))


def _with_paths_from(base: Path, config: RunConfig) -> RunConfig:
    def absolute(name: str, keyword: str) -> str:
        if name in ("", keyword) or is_hub_source(name):
            return name
        # Links are not followed: what they lead to may have another ending.
        return os.path.normpath((base / os.path.expanduser(name)).absolute())

    text = config.calibration
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model, source=absolute(config.model.source, DEMO)
        ),
        calibration=dataclasses.replace(
            text,
            text=absolute(text.text, BUILTIN_TEXT),
            validation_text=absolute(text.validation_text, BUILTIN_TEXT),
        ),
        export=dataclasses.replace(
            config.export, folder=absolute(config.export.folder, "")
        ),
    )


def _check_names(data: Mapping[str, Any]) -> None:
    """A misspelt name would otherwise silently leave a default in force."""
    parts = {item.name: item.default_factory for item in dataclasses.fields(RunConfig)}
    for part, values in data.items():
        if part not in parts:
            raise ConfigError(
                f"The job has no part called {part!r}.",
                f"The parts are {', '.join(parts)}.",
            )
        known = [item.name for item in dataclasses.fields(parts[part])]  # type: ignore[arg-type]
        for name in values if isinstance(values, Mapping) else ():
            if name not in known:
                raise ConfigError(
                    f"{part} has no setting called {name!r}.",
                    f"Its settings are {', '.join(known)}.",
                )
