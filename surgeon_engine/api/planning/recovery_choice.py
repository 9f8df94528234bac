"""Choose the level of recovery and how it trains, where the settings leave that open.

The choice is the first of these that fits the memory and the time limit of a job:

    distillation of all weights; with gradient checkpointing; with adapters (LoRA);
    reconstruction alone; the refit alone

The plan and the run make it by the same function, from the facts of the machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.formatting import format_duration, format_size
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.planning.estimate import estimate
from surgeon_engine.api.planning.needs import Need, Resource, ResourceStatus, needs_of

_LEVELS = (Recovery.DISTILLATION, Recovery.RECONSTRUCTION, Recovery.REFIT)
_MIN_EPOCHS = 0.25  # of a distillation that is cut by the time limit
_RECOVERY = (
    Stage.SAMPLING,
    Stage.REFERENCE,
    Stage.REFIT,
    Stage.RECONSTRUCTION,
    Stage.DISTILLATION,
)


@dataclass(frozen=True, slots=True)
class RecoveryChoice:
    """A job whose recovery is settled."""

    config: RunConfig
    is_open: bool  # the settings left something to choose
    obstacle: Need | None  # what the closest recovery lacks; None: nothing

    @property
    def message(self) -> str:
        """What was chosen and why."""
        recovery = self.config.recovery
        chosen = recovery.level.value
        if recovery.trains:
            all_weights = recovery.trained_weights is TrainedWeights.FULL
            chosen += " of all weights" if all_weights else " with adapters (LoRA)"
            if recovery.recomputes:
                chosen += " and gradient checkpointing"
        return f"Recovery: {chosen}, because {self._reason}."

    @property
    def _reason(self) -> str:
        need = self.obstacle
        if need is None:
            return "memory and time suffice"
        free = need.free or 0.0
        if need.what is Resource.TIME:
            return (
                f"a closer one takes {format_duration(need.needed)}, and the time "
                f"limit is {format_duration(free)}"
            )
        return (
            f"a closer one needs {format_size(need.needed)} of {need.what}, and "
            f"{format_size(free)} are free"
        )


def choose_recovery(
    config: RunConfig, model: ModelSummary, machine: Machine
) -> RecoveryChoice:
    """Return the job with an explicit recovery, the closest one that fits.

    If none fits, it is the one that needs least. A recovery that needs no more than
    that one fits: something else in the run is larger.
    """
    candidates = [
        replace(config, recovery=recovery) for recovery in _candidates(config.recovery)
    ]
    least = _memory(candidates[-1], model, machine)
    obstacle = None
    for tried in candidates[:-1]:
        lacking = [
            need
            for need, smallest in zip(
                _memory(tried, model, machine), least, strict=True
            )
            if need.light is not ResourceStatus.GREEN and need.needed > smallest.needed
        ]
        lacking += _time_lacking(tried, model, machine)
        if not lacking:
            return RecoveryChoice(tried, True, obstacle)
        obstacle = obstacle or lacking[0]
    return RecoveryChoice(candidates[-1], len(candidates) > 1, obstacle)


def _memory(
    config: RunConfig, model: ModelSummary, machine: Machine
) -> tuple[Need, ...]:
    needs = needs_of(estimate(config, model, machine), machine, None)
    memory = (Resource.MEMORY, Resource.GPU_MEMORY)
    return tuple(need for need in needs if need.what in memory)


def _candidates(recovery: RecoveryConfig) -> Iterator[RecoveryConfig]:
    """Yield what the settings allow, the closest first."""
    weights: tuple[TrainedWeights, ...] = (recovery.trained_weights,)
    if recovery.trained_weights is TrainedWeights.AUTOMATIC:
        weights = (TrainedWeights.FULL, TrainedWeights.LORA)
    checkpointing: tuple[GradientCheckpointing, ...] = (
        recovery.gradient_checkpointing,
    )
    if recovery.gradient_checkpointing is GradientCheckpointing.AUTOMATIC:
        checkpointing = (GradientCheckpointing.OFF, GradientCheckpointing.ON)
    is_open = recovery.level is Recovery.AUTOMATIC
    for level in _LEVELS if is_open else (recovery.level,):
        settled = replace(recovery, level=level)
        if not settled.trains:
            yield settled
            continue
        for kind, recomputes in itertools.product(weights, checkpointing):
            yield replace(
                settled, trained_weights=kind, gradient_checkpointing=recomputes
            )


def _time_lacking(
    config: RunConfig, model: ModelSummary, machine: Machine
) -> list[Need]:
    """Return the time if the limit is too short for a part of the training."""
    recovery = config.recovery
    limit = 60 * recovery.max_minutes
    if not limit:
        return []
    part = replace(recovery, epochs=min(recovery.epochs, _MIN_EPOCHS), max_minutes=0.0)
    nominal = msgspec.structs.replace(machine, pace=1.0)
    found = estimate(replace(config, recovery=part), model, nominal)
    seconds = sum(found.seconds_of_stages.get(stage, 0.0) for stage in _RECOVERY)
    return [Need(Resource.TIME, seconds, limit)] if seconds > limit else []
