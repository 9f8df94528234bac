"""Settings of the window that persist between starts, stored with QSettings.

The settings of a run are in its config instead.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import platformdirs
from PySide6.QtCore import QByteArray, QCoreApplication, QSettings

from surgeon_engine.api.config.run import Device
from surgeon_gui.base.units import Units

_APPLICATION = "Surgeon"
MAX_RECENT = 8  # of each kind


class ThemeChoice(StrEnum):
    """Colours of the window."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The settings that the user chooses in the Preferences dialog."""

    run_parent: str = ""
    theme: ThemeChoice = ThemeChoice.SYSTEM
    language: str = ""  # such as "de"; empty: the language of the system
    device: Device = Device.AUTO  # of new jobs
    units: Units = Units.DECIMAL  # of sizes in bytes
    keeps_awake: bool = True  # the computer, during a run
    runs_go_on: bool = False  # when the window is closed
    is_offline: bool = False  # never contact the Hugging Face Hub


@dataclass(slots=True)
class Settings:
    """The persistent settings with their defaults."""

    theme: ThemeChoice = ThemeChoice.SYSTEM
    language: str = ""  # such as "de"; empty: the language of the system
    device: Device = Device.AUTO  # of new jobs
    units: Units = Units.DECIMAL  # of sizes in bytes
    keeps_awake: bool = True
    runs_go_on: bool = False
    is_offline: bool = False
    geometry: QByteArray = field(default_factory=QByteArray)
    layout: QByteArray = field(default_factory=QByteArray)  # of the docks
    splitter: QByteArray = field(default_factory=QByteArray)  # beside the steps
    run_parent: str = ""
    computers: list[str] = field(default_factory=list)  # host, tab, command
    computer: str = ""  # the host whose engine is used; empty: this computer
    folders_there: list[str] = field(default_factory=list)  # host, tab, last folder
    last_folder: str = ""
    recent_models: list[str] = field(default_factory=list)
    recent_jobs: list[str] = field(default_factory=list)  # files
    recent_runs: list[str] = field(default_factory=list)  # folders
    shows_hint: bool = False  # the welcome card
    job: str = ""  # the draft when the window was closed, as TOML; empty: no model
    open_run: str = ""  # the folder of the run that was shown; empty: none
    pace: float = 1.0  # actual over estimated seconds of the last run

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


def _with_first(item: str, recent: list[str]) -> list[str]:
    others = [other for other in recent if other != item]
    return [item, *others][:MAX_RECENT]


def name_application() -> None:
    """Set the names that QSettings uses; call this before `load`."""
    QCoreApplication.setApplicationName(_APPLICATION)
    QCoreApplication.setOrganizationName(_APPLICATION)


def load() -> Settings:
    """Read the settings; unreadable ones get their default."""
    store = QSettings()
    settings = Settings()
    with contextlib.suppress(ValueError):  # from another version
        settings.theme = ThemeChoice(str(store.value("theme", settings.theme)))
    settings.language = str(store.value("language", ""))
    with contextlib.suppress(ValueError):  # from another version
        settings.device = Device(str(store.value("device", settings.device)))
    with contextlib.suppress(ValueError):  # from another version
        settings.units = Units(str(store.value("units", settings.units)))
    settings.keeps_awake = _truth(store.value("keeps_awake", settings.keeps_awake))
    settings.runs_go_on = _truth(store.value("runs_go_on", settings.runs_go_on))
    settings.is_offline = _truth(store.value("is_offline", settings.is_offline))
    settings.geometry = _bytes(store.value("geometry"))
    settings.layout = _bytes(store.value("layout"))
    settings.splitter = _bytes(store.value("splitter"))
    settings.run_parent = str(store.value("run_parent", ""))
    settings.computers = _strings(store.value("computers"))
    settings.computer = str(store.value("computer", ""))
    settings.folders_there = _strings(store.value("folders_there"))
    settings.last_folder = str(store.value("last_folder", ""))
    settings.recent_models = _strings(store.value("recent_models"))
    settings.recent_jobs = _strings(store.value("recent_jobs"))
    settings.recent_runs = _strings(store.value("recent_runs"))
    settings.shows_hint = _truth(store.value("shows_hint", True))
    settings.job = str(store.value("job", ""))
    settings.open_run = str(store.value("open_run", ""))
    with contextlib.suppress(ValueError):  # from another version
        pace = float(str(store.value("pace", settings.pace)))
        settings.pace = pace if 0 < pace < math.inf else settings.pace
    return settings


def save(settings: Settings) -> None:
    """Store the settings."""
    store = QSettings()
    store.setValue("theme", settings.theme.value)
    store.setValue("language", settings.language)
    store.setValue("device", settings.device.value)
    store.setValue("units", settings.units.value)
    store.setValue("keeps_awake", settings.keeps_awake)
    store.setValue("runs_go_on", settings.runs_go_on)
    store.setValue("is_offline", settings.is_offline)
    store.setValue("geometry", settings.geometry)
    store.setValue("layout", settings.layout)
    store.setValue("splitter", settings.splitter)
    store.setValue("run_parent", settings.run_parent)
    store.setValue("computers", settings.computers)
    store.setValue("computer", settings.computer)
    store.setValue("folders_there", settings.folders_there)
    store.setValue("last_folder", settings.last_folder)
    store.setValue("recent_models", settings.recent_models)
    store.setValue("recent_jobs", settings.recent_jobs)
    store.setValue("recent_runs", settings.recent_runs)
    store.setValue("shows_hint", settings.shows_hint)
    store.setValue("job", settings.job)
    store.setValue("open_run", settings.open_run)
    store.setValue("pace", settings.pace)


def reset() -> None:
    """Delete all stored settings."""
    QSettings().clear()


def _bytes(value: object) -> QByteArray:
    return value if isinstance(value, QByteArray) else QByteArray()


def _truth(value: object) -> bool:
    return str(value).lower() == "true"


def _strings(value: object) -> list[str]:
    if isinstance(value, str):  # QSettings reads a list of one as a string
        return [value] if value else []
    return [str(item) for item in value] if isinstance(value, list) else []


def default_run_parent() -> Path:
    """Return the default runs folder."""
    return platformdirs.user_data_path("surgeon") / "runs"
