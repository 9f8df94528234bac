"""Settings of the window that persist between starts, stored with QSettings.

The settings of a run are in its config instead.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any

import platformdirs
from PySide6.QtCore import (
    QByteArray,
    QCoreApplication,
    QObject,
    QSettings,
    QStandardPaths,
    QTimer,
)

from surgeon_engine.api.config.pruning import Target
from surgeon_engine.api.config.run import Device
from surgeon_engine.base.reading import open_regular

_APPLICATION = "Surgeon"
MAX_RECENT = 8  # entries of each list of recent items
_SAVE_MS = 3_000  # between two looks for changes


class ThemeChoice(StrEnum):
    """Colors of the window."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class Units(StrEnum):
    """Units of sizes in bytes: MB in steps of 1000, or MiB in steps of 1024."""

    DECIMAL = "decimal"
    BINARY = "binary"


@dataclass(slots=True)
class Preferences:
    """The settings that the user chooses in the Preferences dialog."""

    run_parent: str = ""
    theme: ThemeChoice = ThemeChoice.SYSTEM
    language: str = ""  # such as "de"; empty: the language of the system
    device: Device = Device.AUTO  # default for new jobs
    units: Units = Units.DECIMAL  # for sizes in bytes
    keeps_awake: bool = True  # the computer, during a run
    runs_go_on: bool = False  # when the window is closed
    is_offline: bool = False  # never contact the Hugging Face Hub


@dataclass(slots=True)
class Settings(Preferences):
    """The persistent settings with their defaults."""

    geometry: QByteArray = field(default_factory=QByteArray)
    computers: list[str] = field(default_factory=list)  # host, tab, command
    computer: str = ""  # the host whose engine is used; empty: this computer
    folders_there: list[str] = field(default_factory=list)  # host, tab, last folder
    last_folder: str = ""
    recent_models: list[str] = field(default_factory=list)
    recent_jobs: list[str] = field(default_factory=list)  # files
    recent_runs: list[str] = field(default_factory=list)  # folders
    job: str = ""  # the draft when the window was closed, as TOML; empty: no model
    open_run: str = ""  # the folder of the run that was shown; empty: none
    size_unit: Target = Target.FILE_SIZE  # the last choice
    pace: float = 1.0  # actual over estimated seconds of the runs so far
    # The values by name, as this window has read or stored them.
    stored: dict[str, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def changes(self) -> dict[str, object]:
        """The settings to store, by name: those that this window has changed."""
        values = {name: getattr(self, name) for name in _NAMES}
        return {
            name: value
            for name, value in values.items()
            if name not in self.stored or self.stored[name] != value
        }

    def remember_model(self, source: str) -> None:
        """Add a model at the front of the recent models."""
        self.recent_models = _with_first(source, self.recent_models)

    def remember_job(self, path: str) -> None:
        """Add a job file at the front of the recent jobs."""
        self.recent_jobs = _with_first(str(Path(path).absolute()), self.recent_jobs)

    def remember_run(self, folder: str) -> None:
        """Add a run at the front of the recent runs."""
        self.recent_runs = _with_first(folder, self.recent_runs)

    def forget_recent(self) -> None:
        """Empty the lists of recent models, jobs and runs."""
        self.recent_models, self.recent_jobs, self.recent_runs = [], [], []

    def forget_model(self, source: str) -> None:
        """Remove a model from the recent models."""
        others = [model for model in self.recent_models if model != source]
        self.recent_models = others

    def remember_folder_of(self, path: str) -> None:
        """Start the next file dialog in the folder of this file."""
        self.last_folder = str(Path(path).parent)


_NAMES = tuple(each.name for each in fields(Settings) if each.compare)


def _merged(mine: list[str], before: Any, now: Any) -> list[str]:
    """Return the list of this window with what another window added or deleted.

    Both began with `before`; the other one has stored `now`. If both have changed it,
    what this window has added or moved to the front comes first.
    """
    if now == before:
        return mine
    first = [
        item
        for n, item in enumerate(mine)
        if item not in before or set(before[: before.index(item)]) & set(mine[n:])
    ]
    deleted = set(before) - set(mine)
    return [*first, *(x for x in now if x not in first and x not in deleted)]


def _with_first(item: str, recent: list[str]) -> list[str]:
    others = [other for other in recent if other != item]
    return [item, *others][:MAX_RECENT]


def name_application() -> None:
    """Set the names that QSettings uses; call this before `load`."""
    QCoreApplication.setApplicationName(_APPLICATION)
    QCoreApplication.setOrganizationName(_APPLICATION)


def check_file() -> None:
    """Check that the file of the settings can be read without waiting.

    Raises:
        UnreadableFileError: It is no regular file, such as a pipe.
    """
    place = QStandardPaths.StandardLocation.GenericConfigLocation
    folder = Path(QStandardPaths.writableLocation(place))
    path = folder / _APPLICATION / f"{_APPLICATION}.conf"
    if os.path.lexists(path):  # elsewhere than on Linux there is none
        os.close(open_regular(path))


def load() -> Settings:
    """Read the settings; unreadable ones get their default."""
    store = QSettings()
    settings = Settings()
    for name in _NAMES:
        if store.contains(name):
            default = getattr(settings, name)
            with contextlib.suppress(ValueError):  # from another version
                setattr(settings, name, _read(store.value(name), default))
    settings.stored = settings.changes
    return settings


def save(settings: Settings) -> None:
    """Store the settings that this window has changed; the others stay as they are.

    A list, such as the recent models, stores only its changed entries.
    """
    store, changes = QSettings(), settings.changes
    for name, value in changes.items():
        if isinstance(value, Enum):
            store.setValue(name, value.value)
        elif isinstance(value, list):
            before, now = settings.stored.get(name, []), _read(store.value(name), [])
            most = MAX_RECENT if name.startswith("recent_") else None
            store.setValue(name, _merged(value, before, now)[:most])
        else:
            store.setValue(name, value)
    settings.stored |= changes


def save_changes_regularly(
    settings: Settings, refresh: Callable[[], object], parent: QObject
) -> None:
    """Store settings soon after they have changed, so that a kill loses little.

    `refresh` is called before each look at them.
    """

    def save_changes() -> None:
        refresh()
        if settings.changes:
            save(settings)

    timer = QTimer(parent, interval=_SAVE_MS)
    timer.timeout.connect(save_changes)
    timer.start()


def reset() -> None:
    """Delete all stored settings."""
    QSettings().clear()


def _read(value: object, default: object) -> object:
    """Return a stored value as one of the type of the default.

    Raises:
        ValueError: The value cannot be one.
    """
    match default:
        case bool():
            return str(value).lower() == "true"
        case float():
            number = float(str(value))
            return number if 0 < number < math.inf else default
        case QByteArray():
            return value if isinstance(value, QByteArray) else default
        case list() if isinstance(value, str):  # a list of one is read as a string
            return [value] if value else []
        case list():
            return [str(item) for item in value] if isinstance(value, list) else []
        case Enum():
            return type(default)(str(value))
    return str(value)


def default_run_parent() -> Path:
    """Return the default runs folder."""
    return platformdirs.user_data_path("surgeon") / "runs"
