"""Whether a run fits the machine, and the settings with which it would.

A light for each thing that a run needs:

    green    it fits with room to spare
    yellow   it is tight: it starts, and may fail
    red      it cannot fit: it is refused

Settings are changed in the order of how little they cost: first those that change
nothing in the result, then number formats, then what is measured, at last the method.
Of what was changed everything is put back that turns out not to be needed. Pure
functions; imports neither torch nor Qt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.fields import values_of, with_values
from surgeon_engine.api.config.pruning import Correction, FixedDamping
from surgeon_engine.api.config.run import Device, Dtype, RunConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.formatting import format_size
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.planning.estimate import Estimate, estimate

_SPARE = 0.85  # of what is free: an estimate may be off by so much and still fit
_BEYOND = 1.15  # of what is free: by so much it cannot be off
_LONG = 6 * 3600.0  # seconds from which on a person wants to know before
_MIN_LENGTH = 64  # tokens: shorter windows say too little of a text
_MIN_SPEED = 0.2  # of float32's, from which on shorter numbers are offered
_MIN_WINDOWS = 8  # of calibration


class Light(StrEnum):
    """Whether something fits."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


_ORDER = tuple(Light)


class Resource(StrEnum):
    """What a run needs."""

    MEMORY = "memory"
    GPU_MEMORY = "GPU memory"
    DISK = "disk"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Need:
    """How much of something is needed, and how much there is."""

    what: Resource
    needed: float  # bytes or seconds
    free: float | None  # None: not known, or there is no limit

    @property
    def light(self) -> Light:
        """Whether it fits."""
        if self.what is Resource.TIME:
            return Light.YELLOW if self.needed > _LONG else Light.GREEN
        if self.free is None:
            return Light.GREEN
        # What a file takes is known to the byte, what memory a run takes is not.
        beyond = 1.0 if self.what is Resource.DISK else _BEYOND
        if self.needed > beyond * self.free:
            return Light.RED
        return Light.YELLOW if self.needed > _SPARE * self.free else Light.GREEN


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    """How a run fits a machine."""

    estimate: Estimate
    needs: tuple[Need, ...]

    @property
    def light(self) -> Light:
        """The worst of all."""
        return max((need.light for need in self.needs), key=_ORDER.index)

    @property
    def room(self) -> Light:
        """The worst of those but time: a long run fits all the same."""
        needs = (need for need in self.needs if need.what is not Resource.TIME)
        return max((need.light for need in needs), key=_ORDER.index)

    @property
    def worst(self) -> Need:
        """What is shortest."""
        return max(self.needs, key=lambda need: _ORDER.index(need.light))


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that was changed."""

    field: str  # as "calibration.batch"
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class AdjustedConfig:
    """A job that fits, and in what it differs from the one that did not."""

    config: RunConfig
    changes: tuple[Change, ...]
    fit: ResourceCheck


def check_resources(
    config: RunConfig, model: ModelSummary, machine: Machine, free_disk: int | None
) -> ResourceCheck:
    """How the run fits a machine with so many bytes free on its disk; None: unknown."""
    found = estimate(config, model, machine)
    needs = [Need(Resource.MEMORY, found.ram, machine.free_ram_bytes)]
    if found.gpu:
        needs.append(Need(Resource.GPU_MEMORY, found.gpu, machine.free_gpu_bytes))
    needs.append(Need(Resource.DISK, found.disk, free_disk))
    if found.seconds is not None:
        needs.append(Need(Resource.TIME, found.seconds, None))
    return ResourceCheck(found, tuple(needs))


def settings_that_fit(
    config: RunConfig, model: ModelSummary, machine: Machine, free_disk: int | None
) -> AdjustedConfig | None:
    """The job with as few changes as make it fit; None: nothing does.

    With room to spare if that can be had, otherwise so that it is not refused.
    """

    def light(tried: RunConfig) -> Light:
        return check_resources(tried, model, machine, free_disk).room

    for wanted in (Light.GREEN, Light.YELLOW):
        fits = _fits(light, wanted)
        found = next(filter(fits, _ladder(config, machine)), None)
        if found is not None:
            smallest = _without_needless(config, found, fits)
            changes = tuple(differences(config, smallest))
            fit = check_resources(smallest, model, machine, free_disk)
            return AdjustedConfig(smallest, changes, fit)
    return None


def refusal(fit: ResourceCheck, fitted: AdjustedConfig | None) -> tuple[str, str]:
    """Why a run is not started, with the numbers, and what to do about it."""
    need = fit.worst
    free = need.free or 0.0
    message = (
        f"The run needs {format_size(need.needed)} of {need.what}, and "
        f"{format_size(free)} are free."
    )
    if fitted is None:
        return message, (
            "No settings make it fit: free some, choose a smaller model, or use a "
            "larger machine."
        )
    return message, f"It would fit with {describe_changes(fitted)}."


def describe_changes(fitted: AdjustedConfig) -> str:
    """The settings that were changed, as they stand in a job file."""
    return ", ".join(
        f"{change.field} = {change.after} instead of {change.before}"
        for change in fitted.changes
    )


def differences(before: RunConfig, after: RunConfig) -> Iterator[Change]:
    """Yield the settings that both jobs have and that differ."""
    for part in dataclasses.fields(RunConfig):
        one = values_of(getattr(before, part.name))
        other = values_of(getattr(after, part.name))
        for name in one:
            if name in other and one[name] != other[name]:
                yield Change(f"{part.name}.{name}", one[name], other[name])


_Fits = Callable[[RunConfig], bool]


def _fits(light: Callable[[RunConfig], Light], wanted: Light) -> _Fits:
    most = _ORDER.index(wanted)
    return lambda config: _ORDER.index(light(config)) <= most


def _ladder(config: RunConfig, machine: Machine) -> Iterator[RunConfig]:
    """The job, and then one change more each time, the cheapest ones first."""
    yield config
    for step in _STEPS:
        if step is _shorter_numbers and _imitates_short_numbers(config, machine):
            continue
        while (changed := _stepped(step, config)) is not None:
            config = changed
            yield config


def _imitates_short_numbers(config: RunConfig, machine: Machine) -> bool:
    """Whether the processor is so slow in them that nobody would wait for it."""
    rates = machine.rates(config.model.device)
    if rates is None:
        return False
    return rates.products[Dtype.BFLOAT16] < _MIN_SPEED * rates.products[Dtype.FLOAT32]


def _stepped(
    step: Callable[[RunConfig], RunConfig | None], config: RunConfig
) -> RunConfig | None:
    """The job after a step; None: there is no such step from here."""
    try:
        return step(config)
    except ConfigError:
        return None


def _without_needless(first: RunConfig, found: RunConfig, fits: _Fits) -> RunConfig:
    """`found` with every setting put back that need not differ, the dearest first."""
    for change in reversed(sorted(differences(first, found), key=_place)):
        part, _, name = change.field.partition(".")
        try:
            restored = with_values(getattr(found, part), {name: change.before})
            tried = replace(found, **{part: restored})
        except ConfigError:
            continue  # it goes with another that has to stay changed
        if fits(tried):
            found = tried
    return found


_FIELDS = (
    "calibration.batch",
    "export.dtype",
    "model.dtype",
    "calibration.window_length",
    "calibration.windows",
    "pruning.damping",
    "pruning.correction",
    "model.device",
)


def _place(change: Change) -> int:
    return _FIELDS.index(change.field)


def _smaller_batch(config: RunConfig) -> RunConfig | None:
    calibration = config.calibration
    if calibration.batch == 1:
        return None
    return replace(
        config, calibration=replace(calibration, batch=calibration.batch // 2)
    )


def _shorter_numbers_in_files(config: RunConfig) -> RunConfig | None:
    if config.export.dtype not in (FileDtype.SAME, FileDtype.FLOAT32):
        return None
    return replace(config, export=replace(config.export, dtype=FileDtype.BFLOAT16))


def _shorter_numbers(config: RunConfig) -> RunConfig | None:
    if config.model.dtype is not Dtype.FLOAT32:
        return None
    return replace(config, model=replace(config.model, dtype=Dtype.BFLOAT16))


def _shorter_windows(config: RunConfig) -> RunConfig | None:
    calibration = config.calibration
    length = calibration.window_length // 2
    if length < _MIN_LENGTH or not calibration.cuts_windows:
        return None
    return replace(config, calibration=replace(calibration, window_length=length))


def _fewer_windows(config: RunConfig) -> RunConfig | None:
    calibration = config.calibration
    windows = calibration.windows // 2
    if windows < _MIN_WINDOWS or calibration.takes_whole_file:
        return None
    return replace(config, calibration=replace(calibration, windows=windows))


def _no_search(config: RunConfig) -> RunConfig | None:
    if not config.pruning.searches_damping:
        return None
    return replace(config, pruning=replace(config.pruning, damping=FixedDamping()))


def _no_correction(config: RunConfig) -> RunConfig | None:
    if not config.pruning.is_corrected:
        return None
    return replace(config, pruning=replace(config.pruning, correction=Correction.NONE))


def _processor(config: RunConfig) -> RunConfig | None:
    if config.model.device is Device.CPU:
        return None
    return replace(config, model=replace(config.model, device=Device.CPU))


_STEPS = (
    _smaller_batch,
    _shorter_numbers_in_files,
    _shorter_numbers,
    _shorter_windows,
    _fewer_windows,
    _no_search,
    _no_correction,
    _processor,
)
