"""A run as it looks before it starts: from the headers of its model and this machine.

Nothing of the model's weights is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import RoomError
from surgeon_engine.api.files import free_bytes
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.planning.resource_check import (
    AdjustedConfig,
    Light,
    ResourceCheck,
    check_resources,
    refusal,
    settings_that_fit,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.model.inspect import inspect_model
from surgeon_engine.runtime.speed_probe import machine, room


@dataclass(frozen=True, slots=True)
class Preflight:
    """A job, what it is measured against, and how it fits."""

    config: RunConfig
    model: ModelSummary
    machine: Machine
    free_disk: int

    @property
    def fit(self) -> ResourceCheck:
        """How the job fits."""
        return check_resources(self.config, self.model, self.machine, self.free_disk)

    @property
    def fitted(self) -> AdjustedConfig | None:
        """The job with settings that fit; None: nothing does."""
        return settings_that_fit(self.config, self.model, self.machine, self.free_disk)


def preflight(config: RunConfig, folder: Path, *, with_time: bool = True) -> Preflight:
    """What a run of `config` in `folder` comes to on this machine.

    Raises:
        ModelError: there is no such model.
    """
    model = inspect_model(config.model).model
    # Each of two disks has to hold all of it: if that of the export fails, the run's
    # holds the model.
    places = (folder, RunFolder(folder).export_path(config))
    free = min(free_bytes(place) for place in places)
    return Preflight(config, model, machine() if with_time else room(), free)


def check_fits(config: RunConfig, folder: Path) -> None:
    """Let no run begin for which there is not enough memory or disk, whatever it does.

    Raises:
        RoomError: there is not; with the numbers and what would fit.
    """
    found = preflight(config, folder, with_time=False)
    fit = found.fit
    if fit.room is Light.RED:
        raise RoomError(*refusal(fit, found.fitted))
