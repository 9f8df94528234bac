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
from surgeon_engine.api.config.fields import values_of, with_values
from surgeon_engine.api.config.pruning import FixedDamping
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Device, Dtype, RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.formatting import format_size
from surgeon_engine.planning.automatic_settings import SettledJob, settle
from surgeon_engine.planning.estimate import Estimate
from surgeon_engine.planning.needs import (
    Need,
    Resource,
    ResourceStatus,
    needs_of,
)
from surgeon_engine.planning.target_size import PlannedSize

_MIN_LENGTH = 64  # tokens of a window
_MIN_SPEED = 0.2  # of float32's; slower formats are not proposed
_MIN_WINDOWS = 8  # of calibration


_ORDER = tuple(ResourceStatus)


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    """Result of a resource check."""

    settled: SettledJob
    needs: tuple[Need, ...]

    @property
    def estimate(self) -> Estimate:
        """What the settled job needs."""
        return self.settled.estimate

    @property
    def light(self) -> ResourceStatus:
        """Worst light of all resources."""
        return max((need.light for need in self.needs), key=_ORDER.index)

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
    """Check a run against a machine.

    Args:
        config: the job.
        model: the model before pruning.
        machine: its memory and speed.
        free_disk: bytes; None: unknown.
        size: the planned size of the job; None: not computed yet.
    """
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
    """Return the changed settings as in a job file."""
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


def _adjustments(config: RunConfig, machine: Machine) -> Iterator[RunConfig]:
    """Yield the job with more and more changes, the cheapest ones first."""
    yield config
    for step in _STEPS:
        if step is _narrower_dtype and _emulates_16_bit(config, machine):
            continue
        while (changed := _stepped(step, config)) is not None:
            config = changed
            yield config


def _emulates_16_bit(config: RunConfig, machine: Machine) -> bool:
    """Return True if the processor is very slow in 16 bits."""
    rates = machine.rates(config.model.device)
    if rates is None:
        return False
    return rates.products[Dtype.BFLOAT16] < _MIN_SPEED * rates.products[Dtype.FLOAT32]


def _stepped(
    step: Callable[[RunConfig], RunConfig | None], config: RunConfig
) -> RunConfig | None:
    """Return the job after a step; None if the step is not possible."""
    try:
        return step(config)
    except ConfigError:
        return None


def _minimize_changes(
    first: RunConfig, found: RunConfig, fits: Callable[[RunConfig], bool]
) -> RunConfig:
    """Return `found` with all changes taken back that are not needed."""
    for change in reversed(sorted(differences(first, found), key=_place)):
        part, _, name = change.field.partition(".")
        try:
            restored = with_values(getattr(found, part), {name: change.before})
            tried = replace(found, **{part: restored})
        except ConfigError:
            continue  # another change depends on it
        if fits(tried):
            found = tried
    return found


_FIELDS = (
    "export.save_progress",
    "calibration.batch",
    "model.gpus",
    "export.dtype",
    "model.dtype",
    "calibration.window_length",
    "calibration.windows",
    "pruning.damping",
    "recovery.gradient_checkpointing",
    "recovery.trained_weights",
    "recovery.level",
    "model.device",
)


def _place(change: Change) -> int:
    return _FIELDS.index(change.field)


def _no_saving(config: RunConfig) -> RunConfig | None:
    if not config.export.save_progress:
        return None
    return replace(config, export=replace(config.export, save_progress=False))


def _smaller_batch(config: RunConfig) -> RunConfig | None:
    calibration = config.calibration
    if calibration.batch == 1:
        return None
    return replace(
        config, calibration=replace(calibration, batch=calibration.batch // 2)
    )


def _one_gpu(config: RunConfig) -> RunConfig | None:
    """Let one process do the run: each needs main memory."""
    if config.model.gpus == 1:
        return None
    return replace(config, model=replace(config.model, gpus=1))


def _narrower_export_dtype(config: RunConfig) -> RunConfig | None:
    if config.export.dtype not in (FileDtype.SAME, FileDtype.FLOAT32):
        return None
    return replace(config, export=replace(config.export, dtype=FileDtype.BFLOAT16))


def _narrower_dtype(config: RunConfig) -> RunConfig | None:
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


def _less_recovery(config: RunConfig) -> RunConfig | None:
    """Lower the level; the automatic one is as low as it can be by now."""
    levels = list(Recovery)
    level = levels.index(config.recovery.level)
    if level == 0:
        return None
    is_automatic = config.recovery.level is Recovery.AUTOMATIC
    lower = Recovery.OFF if is_automatic else levels[level - 1]
    return replace(config, recovery=replace(config.recovery, level=lower))


def _checkpointing(config: RunConfig) -> RunConfig | None:
    recovery, on = config.recovery, GradientCheckpointing.ON
    is_off = recovery.gradient_checkpointing is GradientCheckpointing.OFF
    if not (recovery.trains and is_off):
        return None
    return replace(config, recovery=replace(recovery, gradient_checkpointing=on))


def _lora(config: RunConfig) -> RunConfig | None:
    recovery = config.recovery
    is_full = recovery.trained_weights is TrainedWeights.FULL
    if not (recovery.trains and is_full):
        return None
    trained = replace(recovery, trained_weights=TrainedWeights.LORA)
    return replace(config, recovery=trained)


def _processor(config: RunConfig) -> RunConfig | None:
    if config.model.device is Device.CPU:
        return None
    return replace(config, model=replace(config.model, device=Device.CPU))


_STEPS = (
    _no_saving,
    _smaller_batch,
    _one_gpu,
    _narrower_export_dtype,
    _narrower_dtype,
    _shorter_windows,
    _fewer_windows,
    _no_search,
    _checkpointing,
    _lora,
    _less_recovery,
    _processor,
)
