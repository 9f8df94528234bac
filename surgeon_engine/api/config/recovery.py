"""The recovery part of a job: how the remaining weights make up for the removed ones.

It comes after the last shot.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from surgeon_engine.api.config.fields import Limits, Option, check_limits


class Recovery(StrEnum):
    """The levels of recovery, from the fastest to the closest."""

    OFF = "off"
    REFIT = "refit"  # least squares, layer after layer
    RECONSTRUCTION = "reconstruction"  # the refit, and training block by block
    DISTILLATION = "distillation"  # the refit, then training to match the original


def _trains(recovery: RecoveryConfig) -> bool:
    return recovery.trains


def _recovers(recovery: RecoveryConfig) -> bool:
    return recovery.level is not Recovery.OFF


@dataclass(frozen=True, slots=True)
class RecoveryConfig:
    """What follows the removal, on which text, and for how long."""

    level: Recovery = Recovery.DISTILLATION
    # Windows that the original model writes; they are used beside the user's text.
    own_windows: Annotated[
        int, Option(Limits(0, 100_000), applies=_recovers, advanced=True)
    ] = 128
    epochs: Annotated[float, Option(Limits(0, 100), applies=_trains)] = 1.0
    # 0: no limit. A limit in minutes makes results depend on the speed of the machine.
    max_minutes: Annotated[
        float, Option(Limits(0, 100_000), applies=_trains, advanced=True)
    ] = 0.0

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def trains(self) -> bool:
        """True if the model is trained to match the original."""
        return self.level is Recovery.DISTILLATION

    @property
    def reconstructs(self) -> bool:
        """True if each block is trained to match that of the original."""
        return self.level is Recovery.RECONSTRUCTION
