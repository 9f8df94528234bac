"""The recovery part of a job: how the remaining weights make up for the removed ones.

It comes after the last shot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from surgeon_engine.api.config.fields import Limits, Option, check_limits


class Recovery(StrEnum):
    """The levels of recovery."""

    OFF = "off"
    REFIT = "refit"  # least squares, layer after layer
    RECONSTRUCTION = "reconstruction"  # the refit, then training, block by block
    DISTILLATION = "distillation"  # the refit, then training of the whole model
    BOTH = "reconstruction_and_distillation"
    AUTOMATIC = "automatic"  # the first for which memory suffices, from distillation on


class TrainedWeights(StrEnum):
    """The weights that the distillation trains."""

    AUTOMATIC = "automatic"  # all, if memory suffices
    FULL = "full"
    LORA = "lora"  # low-rank adapters, which are merged at the end
    ROUTERS = "routers"  # routers of mixtures, which choose the experts of a token


class GradientCheckpointing(StrEnum):
    """Recomputation of a block's activations for its gradients."""

    AUTOMATIC = "automatic"  # if memory is short
    OFF = "off"
    ON = "on"


_MOST_EPOCHS = 1_000.0  # limit of a training that ends by its time
_ONE_OF, _MOST = 8, 8  # windows of a kind per judging window; most judging windows


def judging_windows(windows: int) -> int:
    """Return how many windows of a kind judge recovery instead of being fitted."""
    return min(max(windows // _ONE_OF, int(windows > 1)), _MOST)


@dataclass(frozen=True, slots=True)
class RecoveryConfig:
    """The recovery after the removal: its method, texts and duration."""

    level: Recovery = Recovery.AUTOMATIC
    # Windows of general text beside the user's: in the refit, the original model has
    # written a half, and in an epoch of the training an eighth. The rest is shipped.
    general_windows: Annotated[
        int, Option(Limits(0, 100_000), used_if="recovers", advanced=True)
    ] = 64
    epochs: Annotated[float, Option(Limits(0, 1_000), used_if="counts_epochs")] = 1.0
    # How long the training lasts, in place of `epochs`; 0: by these. With a time,
    # results depend on the speed of the machine.
    minutes: Annotated[float, Option(Limits(0, 100_000), used_if="trains")] = 0.0
    trained_weights: Annotated[
        TrainedWeights, Option(used_if="trains", advanced=True)
    ] = TrainedWeights.AUTOMATIC
    lora_rank: Annotated[
        int, Option(Limits(1, 1024), used_if="may_use_lora", advanced=True)
    ] = 16
    gradient_checkpointing: Annotated[
        GradientCheckpointing, Option(used_if="trains", advanced=True)
    ] = GradientCheckpointing.AUTOMATIC

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def recovers(self) -> bool:
        """True if the model is recovered at all."""
        return self.level is not Recovery.OFF

    @property
    def trains(self) -> bool:
        """True if the model is trained to match the original, or may be."""
        return self.level in (Recovery.DISTILLATION, Recovery.BOTH, Recovery.AUTOMATIC)

    @property
    def counts_epochs(self) -> bool:
        """True if the training ends after some epochs, and not after some time."""
        return self.trains and not self.minutes

    @property
    def most_epochs(self) -> float:
        """The epochs after which the training ends at the latest."""
        return _MOST_EPOCHS if self.minutes else self.epochs

    @property
    def training_epochs(self) -> int:
        """The number of epochs of the training; each reads new text."""
        return math.ceil(self.most_epochs) if self.trains else 0

    @property
    def reconstructs(self) -> bool:
        """True if each block is trained to match the original's block."""
        return self.level in (Recovery.RECONSTRUCTION, Recovery.BOTH)

    @property
    def uses_lora(self) -> bool:
        """True if adapters are trained instead of all weights."""
        return self.trains and self.trained_weights is TrainedWeights.LORA

    @property
    def trains_all_weights(self) -> bool:
        """True if all weights are trained, and not a few for all."""
        few = (TrainedWeights.LORA, TrainedWeights.ROUTERS)
        return self.trains and self.trained_weights not in few

    @property
    def may_use_lora(self) -> bool:
        """True if adapters may be trained."""
        kinds = (TrainedWeights.AUTOMATIC, TrainedWeights.LORA)
        return self.trains and self.trained_weights in kinds

    @property
    def recomputes(self) -> bool:
        """True if activations are computed again for the gradients."""
        return self.trains and self.gradient_checkpointing is GradientCheckpointing.ON
