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
    Resource,
    ResourceCheck,
    check_resources,
    format_bytes,
    in_words,
    refusal,
    settings_that_fit,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.model.inspect import inspect_model
from surgeon_engine.runtime.speed_probe import machine, room

_MARKS = {Light.GREEN: "fits", Light.YELLOW: "tight", Light.RED: "does not fit"}
_MINUTE, _HOUR = 60, 3600


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


def in_lines(found: Preflight) -> str:
    """The forecast as a terminal shows it."""
    fit = found.fit
    lines = []
    for need in fit.needs:
        if need.what is Resource.TIME:
            amount = f"about {_duration(need.needed)}"
        else:
            amount = (
                f"{format_bytes(need.needed)} of {format_bytes(need.free or 0)} free"
            )
        lines.append(f"{need.what:<12}{amount:<28}{_MARKS[need.light]}")
    fitted = found.fitted
    if fit.room is Light.RED:
        lines += refusal(fit, fitted)
    elif fitted is not None and fitted.changes:
        lines.append(f"It would have more room with {in_words(fitted)}.")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"
