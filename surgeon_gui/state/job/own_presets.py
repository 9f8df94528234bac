"""The user's own presets: one TOML file each, in the user's config folder."""

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
from surgeon_engine.api.config.toml import TOML_LIMIT
from surgeon_engine.base.errors import ConfigError, UnreadableFileError
from surgeon_engine.base.files import write_atomically
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.reading import read_text
from surgeon_gui.base.translation import tr

_SUFFIX = ".toml"
_MAX_TITLE_LENGTH = 60  # characters
_MAX_STEM_BYTES = 120  # a file name may have 255 bytes
_ABOUT = tr("Your own settings, saved as {title}.")


def presets_folder() -> Path:
    """Return the folder of the presets."""
    return platformdirs.user_config_path("surgeon") / "presets"


def read_presets(folder: Path) -> tuple[list[Preset], list[str]]:
    """Return the presets in a folder by title, and the problems of other files."""
    found, problems = [], []
    try:
        paths = sorted(x for x in folder.iterdir() if x.suffix == _SUFFIX)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [unreadable(folder, error)]
    for path in paths:
        try:
            found.append(read_preset(path))
        except ConfigError as error:
            problems.append(error.message)
    return sorted(found, key=lambda preset: preset.title.casefold()), problems


def read_preset(path: Path) -> Preset:
    """Read the preset in a file.

    Raises:
        ConfigError: The file holds no valid preset.
    """
    try:
        return preset_from_toml(path.stem, read_text(path, TOML_LIMIT))
    except UnreadableFileError as error:
        raise ConfigError(error.message) from error


def new_preset(
    title: str, config: RunConfig, others: list[Preset], folder: Path
) -> Preset:
    """Return the settings of a job as a preset that can be written to a folder.

    Raises:
        ConfigError: The title is empty or taken.
    """
    title = " ".join(title.split())[:_MAX_TITLE_LENGTH]
    if not title:
        raise ConfigError(tr("A preset needs a name."))
    _check_name_free(title, others)
    about = _ABOUT.format(title=title)
    return preset_of(_free_name(title, others, folder), title, about, config)


def imported_preset(preset: Preset, others: list[Preset], folder: Path) -> Preset:
    """Return a preset of another origin with a name that is free in a folder.

    Raises:
        ConfigError: The title is taken.
    """
    _check_name_free(preset.title, others)
    return replace(preset, name=_free_name(preset.title, others, folder))


def write_preset(preset: Preset, path: Path) -> None:
    """Write a preset to a file atomically.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, preset_to_toml(preset).encode())


def preset_path(preset: Preset, folder: Path) -> Path:
    """Return the path of a preset in a folder."""
    return folder / f"{preset.name}{_SUFFIX}"


def _check_name_free(title: str, others: list[Preset]) -> None:
    taken = {preset.title.casefold() for preset in (*presets(), *others)}
    if title.casefold() in taken:
        raise ConfigError(
            tr("A preset called {title} already exists.").format(title=title)
        )


def _free_name(title: str, others: list[Preset], folder: Path) -> str:
    stem = re.sub(r"\W+", "_", title.casefold()).strip("_") or "preset"
    stem = stem.encode()[:_MAX_STEM_BYTES].decode(errors="ignore")
    taken = {preset.name for preset in (*presets(), *others)}
    taken |= {path.stem for path in folder.glob(f"*{_SUFFIX}")}  # unreadable ones too
    numbers = range(2, len(taken) + 3)
    names = (stem, *(f"{stem}_{number}" for number in numbers))
    return next(name for name in names if name not in taken)
