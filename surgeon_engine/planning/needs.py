"""The needs of a run for each resource of a machine, and how well they fit.

Each resource has a light:

    green    it fits with room to spare
    yellow   it is tight: the run starts, and may fail
    red      it cannot fit: the run does not start
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.base.sentences import reworded, say
from surgeon_engine.planning.estimate import Estimate

_SPARE = 0.85  # share of the free amount: an estimate below it fits
_BEYOND = 1.15  # share of the free amount: an estimate above it cannot fit
_LONG = 6 * 3600.0  # seconds; longer runs get a yellow light


class ResourceStatus(StrEnum):
    """Result of the check of one resource."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


class Resource(StrEnum):
    """Resources that a run needs."""

    MEMORY = "memory"
    GPU_MEMORY = "GPU memory"
    DISK = "disk"
    TIME = "time"


def name_of(resource: Resource) -> str:
    """Return the name of a resource in a sentence."""
    return reworded(_NAMES[resource])


_NAMES = {
    Resource.MEMORY: say("memory"),
    Resource.GPU_MEMORY: say("GPU memory"),
    Resource.DISK: say("disk space"),
    Resource.TIME: say("time"),
}


@dataclass(frozen=True, slots=True)
class Need:
    """The needed and the free amount of a resource."""

    what: Resource
    needed: float  # bytes or seconds
    free: float | None  # None: not known, or there is no limit

    @property
    def light(self) -> ResourceStatus:
        """How well it fits."""
        free = math.inf if self.free is None else self.free
        tight = _LONG if self.what is Resource.TIME else _SPARE * free
        # Sizes of files are known exactly, needs of memory are not.
        beyond = 1.0 if self.what is Resource.DISK else _BEYOND
        if self.what is not Resource.TIME and self.needed > beyond * free:
            return ResourceStatus.RED
        return ResourceStatus.YELLOW if self.needed > tight else ResourceStatus.GREEN


def needs_of(
    estimate: Estimate, machine: Machine, free_disk: int | None
) -> tuple[Need, ...]:
    """Return the needs of a run; `free_disk` is None if unknown."""
    needs = [Need(Resource.MEMORY, estimate.ram, machine.free_ram_bytes)]
    if estimate.gpu:
        needs.append(Need(Resource.GPU_MEMORY, estimate.gpu, machine.free_gpu_bytes))
    needs.append(Need(Resource.DISK, estimate.disk, free_disk))
    if estimate.seconds is not None:
        needs.append(Need(Resource.TIME, estimate.seconds, None))
    return tuple(needs)
