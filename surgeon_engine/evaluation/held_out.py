"""Compare a model with the original on the held-out part of the calibration windows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.evaluation.fidelity import Reference, compare_unchecked
from surgeon_engine.planning.constants import HELD_OUT


def split(windows: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return windows to measure first and windows to hold out; None: too few."""
    count = len(windows) // HELD_OUT
    if count == 0:
        return None
    return windows[:-count], windows[-count:]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The divergences of a model from the original on held-out windows."""

    # KL of each token that is compared; None: they are not all finite.
    nats: Tensor | None

    @property
    def divergence(self) -> float:
        """The mean KL in nats per token; infinite where there is none."""
        return math.inf if self.nats is None else self.nats.double().mean().item()

    def is_better_beyond_chance(self, other: Trial) -> bool:
        """Return True if the divergence is lower by more than its standard error.

        The differences of tokens are taken as independent of each other. They are not
        quite, so that chance passes a little more often than one time in six.
        """
        if self.nats is None:
            return False
        if other.nats is None:
            return True
        gain = (other.nats - self.nats).double()
        error = gain.std() / math.sqrt(gain.numel())
        return bool(gain.mean() > error)


def evaluate_held_out(
    model: PreTrainedModel, held_out: Reference, at_once: int = 0
) -> Trial:
    """Compare the model as it is now with the original on held-out windows.

    `at_once` windows run at a time; 0: a batch of the reference.
    """
    nats = compare_unchecked(model, held_out, lambda: None, at_once=at_once).nats
    nats = nats[~nats.isnan()]
    return Trial(nats if bool(nats.isfinite().all()) else None)
