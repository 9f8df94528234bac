"""The user's own presets: a TOML file for each, in a folder of the user's config.

Knows nothing of Qt.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import platformdirs

from surgeon_engine.api.config.presets import (
    Preset,
    preset_from_toml,
    preset_of,
    preset_to_toml,
    presets,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.files import write_atomically
from surgeon_gui.base.translation import tr

_ENDING = ".toml"
_LONGEST = 60  # characters of a title
_ABOUT = tr("Settings of your own, saved as {title}.")


def own_folder() -> Path:
    """Where they are kept."""
    return platformdirs.user_config_path("surgeon") / "presets"


def read_presets(folder: Path) -> tuple[list[Preset], list[str]]:
    """The presets in a folder by title, and what is wrong with the other files."""
    found, problems = [], []
    for path in sorted(folder.glob(f"*{_ENDING}")):
        try:
            found.append(read_preset(path))
        except ConfigError as error:
            problems.append(error.message)
    return sorted(found, key=lambda preset: preset.title.casefold()), problems


def read_preset(path: Path) -> Preset:
    """The preset in a file.

    Raises:
        ConfigError: there is none.
    """
    try:
        return preset_from_toml(path.stem, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            tr("{path} cannot be read: {reason}.").format(
                path=path, reason=error.strerror
            )
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(tr("{path} is no text.").format(path=path)) from error


def new_preset(
    title: str, config: RunConfig, others: list[Preset], folder: Path
) -> Preset:
    """The settings of a job under a title, to be kept in a folder.

    Raises:
        ConfigError: there is no title, or another preset has it.
    """
    title = " ".join(title.split())[:_LONGEST]
    if not title:
        raise ConfigError(tr("A preset needs a name."))
    _check_name_free(title, others)
    about = _ABOUT.format(title=title)
    return preset_of(_name(title, others, folder), title, about, config)


def added(preset: Preset, others: list[Preset], folder: Path) -> Preset:
    """A preset from elsewhere, with a name that no other in a folder has.

    Raises:
        ConfigError: another preset has its title.
    """
    _check_name_free(preset.title, others)
    return replace(preset, name=_name(preset.title, others, folder))


def write_preset(preset: Preset, path: Path) -> None:
    """Write a preset to a file, all of it or nothing.

    Raises:
        OSError: that is not possible.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, preset_to_toml(preset).encode())


def path_of(preset: Preset, folder: Path) -> Path:
    """Where a preset is kept."""
    return folder / f"{preset.name}{_ENDING}"


def _check_name_free(title: str, others: list[Preset]) -> None:
    taken = {preset.title.casefold() for preset in (*presets(), *others)}
    if title.casefold() in taken:
        raise ConfigError(
            tr("There is a preset called {title} already.").format(title=title)
        )


def _name(title: str, others: list[Preset], folder: Path) -> str:
    """A name for a file: letters, digits and underscores."""
    stem = re.sub(r"\W+", "_", title.casefold()).strip("_") or "preset"
    taken = {preset.name for preset in (*presets(), *others)}
    taken |= {path.stem for path in folder.glob(f"*{_ENDING}")}  # unreadable ones too
    numbers = range(2, len(taken) + 3)
    names = (stem, *(f"{stem}_{number}" for number in numbers))
    return next(name for name in names if name not in taken)
