"""Check whether a run fits the machine.

Settings are changed in order of their effect on the result: first those without any,
then number formats, then the calibration, at last the method. Changes that turn out not
to be needed are taken back.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.fields import values_of
from surgeon_engine.api.config.pruning import Damping
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Device, Dtype, RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say, say_list
from surgeon_engine.planning.automatic_settings import SettledJob, settle
from surgeon_engine.planning.estimate import Estimate
from surgeon_engine.planning.needs import (
    Need,
    Resource,
    ResourceStatus,
    name_of,
    needs_of,
)
from surgeon_engine.planning.target_size import PlannedSize

_MIN_LENGTH = 64  # tokens of a window
_MIN_SPEED = 0.2  # share of float32's speed; slower formats are not proposed
_MIN_WINDOWS = 8  # calibration windows

_ORDER = tuple(ResourceStatus)


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    """Result of a resource check."""

    settled: SettledJob
    needs: tuple[Need, ...]

    @property
    def estimate(self) -> Estimate:
        """The needs of the settled job."""
        return self.settled.estimate

    @property
    def room(self) -> ResourceStatus:
        """Worst light of all resources except time."""
        needs = (need for need in self.needs if need.what is not Resource.TIME)
        return max((need.light for need in needs), key=_ORDER.index)

    @property
    def worst(self) -> Need:
        """The scarcest resource."""
        return max(self.needs, key=lambda need: _ORDER.index(need.light))


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that was changed."""

    field: str  # such as "calibration.batch"
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class AdjustedConfig:
    """A job that fits, and its changes to the one that did not."""

    config: RunConfig
    changes: tuple[Change, ...]
    fit: ResourceCheck


def check_resources(
    config: RunConfig,
    model: ModelSummary,
    machine: Machine,
    free_disk: int | None,
    size: PlannedSize | None = None,
) -> ResourceCheck:
    """Check a run against a machine; `free_disk` and `size` if they are known."""
    settled = settle(config, model, machine, size)
    return ResourceCheck(settled, needs_of(settled.estimate, machine, free_disk))


def settings_that_fit(
    config: RunConfig, model: ModelSummary, machine: Machine, free_disk: int | None
) -> AdjustedConfig | None:
    """Return the job with the fewest changes that make it fit; None if none do.

    It fits with room to spare if that is possible, and otherwise tightly.
    """

    @functools.cache
    def checked(tried: RunConfig) -> ResourceCheck:
        return check_resources(tried, model, machine, free_disk)

    for wanted in (ResourceStatus.GREEN, ResourceStatus.YELLOW):
        most = _ORDER.index(wanted)

        def fits(tried: RunConfig, most: int = most) -> bool:
            return _ORDER.index(checked(tried).room) <= most

        found = next(filter(fits, _adjustments(config, machine)), None)
        if found is not None:
            smallest = _minimize_changes(config, found, fits)
            changes = tuple(differences(config, smallest))
            return AdjustedConfig(smallest, changes, checked(smallest))
    return None


def shortage_message(
    fit: ResourceCheck, fitted: AdjustedConfig | None
) -> tuple[str, str]:
    """Return why a run cannot start, and a hint."""
    need = fit.worst
    message = say(
        "The run needs {needed:size} of {resource}, and {free:room} are free.",
        needed=need.needed,
        resource=name_of(need.what),
        free=need.free or 0.0,
    )
    if fitted is None:
        return message, say(
            "No settings make it fit: free some, choose a smaller model, or use a "
            "larger machine."
        )
    changes = describe_changes(fitted)
    return message, say("It would fit with {changes}.", changes=changes)


def describe_changes(fitted: AdjustedConfig) -> str:
    """Return the changed settings as in a job file, or by their names in the window."""
    changes = [
        say(
            "{setting:choice} = {after:choice} instead of {before:choice}",
            setting=change.field,
            after=change.after,
            before=change.before,
        )
        for change in fitted.changes
    ]
    return say_list(*changes)


def differences(before: RunConfig, after: RunConfig) -> Iterator[Change]:
    """Yield the settings that both jobs have and that differ."""
    for part in dataclasses.fields(RunConfig):
        one = values_of(getattr(before, part.name))
        other = values_of(getattr(after, part.name))
        for name in one:
            if name in other and one[name] != other[name]:
                yield Change(f"{part.name}.{name}", one[name], other[name])


def _adjustments(config: RunConfig, machine: Machine) -> Iterator[RunConfig]:
    """Yield the job with more and more changes, the cheapest ones first."""
    yield config
    for field, next_value in _STEPS.items():
        if field == "model.dtype" and _emulates_16_bit(config, machine):
            continue
        while (value := next_value(config)) is not None:
            try:
                config = _with(config, field, value)
            except ConfigError:
                break
            yield config


def _emulates_16_bit(config: RunConfig, machine: Machine) -> bool:
    """Return True if the processor is very slow in 16 bits."""
    rates = machine.rates(config.model.device)
    if rates is None:
        return False
    return rates.products[Dtype.BFLOAT16] < _MIN_SPEED * rates.products[Dtype.FLOAT32]


def _minimize_changes(
    first: RunConfig, found: RunConfig, fits: Callable[[RunConfig], bool]
) -> RunConfig:
    """Return `found` with all changes taken back that are not needed."""
    order = list(_STEPS)
    changes = sorted(differences(first, found), key=lambda x: order.index(x.field))
    for change in reversed(changes):
        try:
            tried = _with(found, change.field, change.before)
        except ConfigError:
            continue  # another change depends on it
        if fits(tried):
            found = tried
    return found


def _with(config: RunConfig, field: str, value: Any) -> RunConfig:
    part, _, name = field.partition(".")
    changed = replace(getattr(config, part), **{name: value})
    return replace(config, **{part: changed})


def _shorter_windows(config: RunConfig) -> int | None:
    length = config.calibration.window_length // 2
    is_possible = length >= _MIN_LENGTH and config.calibration.cuts_windows
    return length if is_possible else None


def _fewer_windows(config: RunConfig) -> int | None:
    windows = config.calibration.windows // 2
    is_possible = windows >= _MIN_WINDOWS and config.calibration.draws_windows
    return windows if is_possible else None


def _checkpointing(config: RunConfig) -> GradientCheckpointing | None:
    is_off = config.recovery.gradient_checkpointing is GradientCheckpointing.OFF
    return GradientCheckpointing.ON if config.recovery.trains and is_off else None


def _lower_level(config: RunConfig) -> Recovery | None:
    """Return the next level; the automatic one is as low as it can be by now."""
    levels, level = list(Recovery), config.recovery.level
    if level is Recovery.AUTOMATIC:
        return Recovery.OFF
    return None if level is Recovery.OFF else levels[levels.index(level) - 1]


# For each setting, its next value; None: there is no further one.
_STEPS: dict[str, Callable[[RunConfig], Any]] = {
    "export.save_progress": lambda x: False if x.export.save_progress else None,
    "calibration.batch": lambda x: x.calibration.batch // 2 or None,
    # Each process needs main memory.
    "model.gpus": lambda x: 1 if x.model.gpus != 1 else None,
    "export.dtype": lambda x: (
        FileDtype.BFLOAT16
        if x.export.dtype in (FileDtype.SAME, FileDtype.FLOAT32)
        else None
    ),
    "model.dtype": lambda x: Dtype.BFLOAT16 if x.model.dtype is Dtype.FLOAT32 else None,
    "calibration.window_length": _shorter_windows,
    "calibration.windows": _fewer_windows,
    "pruning.damping": lambda x: Damping.FIXED if x.pruning.searches_damping else None,
    "recovery.gradient_checkpointing": _checkpointing,
    "recovery.trained_weights": lambda x: (
        TrainedWeights.LORA
        if x.recovery.trains and x.recovery.trained_weights is TrainedWeights.FULL
        else None
    ),
    "recovery.level": _lower_level,
    "model.device": lambda x: None if x.model.device is Device.CPU else Device.CPU,
}
