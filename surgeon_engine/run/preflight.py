"""Check a run before it starts: read the headers of its model, measure this machine.

No weights are read. A run takes over what was found, so that it need not locate and
describe its model again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import InsufficientResourcesError
from surgeon_engine.base.files import free_bytes
from surgeon_engine.model.inspect import InspectedSource, inspect_source
from surgeon_engine.planning.job_check import job_errors
from surgeon_engine.planning.needs import ResourceStatus
from surgeon_engine.planning.resource_check import (
    AdjustedConfig,
    ResourceCheck,
    check_resources,
    settings_that_fit,
    shortage_message,
)
from surgeon_engine.planning.target_size import Goal, planned_size
from surgeon_engine.planning.windows import text_errors
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.speed_probe import machine, room


@dataclass(frozen=True, slots=True)
class Preflight:
    """A job, its model, the machine, and whether the one fits the other."""

    config: RunConfig
    inspected: InspectedSource
    goal: Goal
    machine: Machine
    free_disk: int  # bytes
    resources: ResourceCheck

    @property
    def model(self) -> ModelSummary:
        """The summary of the model."""
        return self.inspected.summary

    def adjusted(self) -> AdjustedConfig | None:
        """Return the job with settings that fit the machine; None: no settings do."""
        return settings_that_fit(self.config, self.model, self.machine, self.free_disk)


def preflight(
    config: RunConfig, folder: Path, *, with_time: bool = True, freed: int = 0
) -> Preflight:
    """Compare what a run of `config` in `folder` needs with what this machine has.

    The folder need not exist yet. If `with_time` is set, the speed of the machine is
    measured, which takes a second. The run replaces `freed` bytes on the disk.

    Raises:
        ModelError: the model cannot be found, read or pruned.
        ConfigError: the model cannot reach the target, or the device is missing.
        CalibrationError: a text file of the job cannot be read, or the windows are too
            long.
        PruningError: so many weights, or whole blocks, cannot be removed from it.
        ExportError: no result can be written in the format of the job.
    """
    devices.choose(config.model.device)  # raises if there is none
    for _, unreadable in text_errors(config):
        raise unreadable
    inspected = inspect_source(config.model)
    model = inspected.summary
    # Each of two disks has to hold the whole model: if the export's disk fails, the
    # run's holds it.
    places = (folder, RunFolder(folder).export_path(config))
    free_disk = min(free_bytes(place) for place in places) + freed
    found = machine() if with_time else room()
    size = planned_size(config, model)
    goal = size.reached()
    resources = check_resources(config, model, found, free_disk, size)
    for _, error in job_errors(resources.settled.config, model, goal):
        raise error
    return Preflight(config, inspected, goal, found, free_disk, resources)


def check_fits(found: Preflight) -> None:
    """Raise if the machine has too little memory or disk for the run.

    Raises:
        RoomError: it has; the message has the numbers, the hint what would fit.
    """
    if found.resources.room is ResourceStatus.RED:
        raise InsufficientResourcesError(
            *shortage_message(found.resources, found.adjusted())
        )
