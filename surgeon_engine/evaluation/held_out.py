"""Evaluate a model on the held-out part of the calibration windows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.evaluation.perplexity import token_losses

_HELD_OUT = 4  # every how many windows one is held out


def split(windows: Tensor) -> tuple[Tensor, Tensor] | None:
    """Split windows into those to measure first and those to hold out.

    Returns:
        Both parts; None if there are too few windows to hold any out.
    """
    count = len(windows) // _HELD_OUT
    if count == 0:
        return None
    return windows[:-count], windows[-count:]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The losses of a model on held-out windows."""

    losses: Tensor | None  # of each token, in nats; None: they are not all finite

    @property
    def loss(self) -> float:
        """The mean; infinite where there are no losses."""
        return math.inf if self.losses is None else self.losses.mean().item()

    def is_better_beyond_chance(self, other: Trial) -> bool:
        """Return True if the loss is lower by more than its standard error.

        The differences of tokens are taken as independent of each other. They are not
        quite, so that chance passes a little more often than one time in six.
        """
        if self.losses is None:
            return False
        if other.losses is None:
            return True
        gain = other.losses - self.losses
        error = gain.std() / math.sqrt(gain.numel())
        return bool(gain.mean() > error)


def evaluate_held_out(model: PreTrainedModel, held_out: Tensor, batch: int) -> Trial:
    """Evaluate the model as it is now on `held_out` (windows x length)."""
    losses = token_losses(model, held_out, batch, lambda: None)
    return Trial(losses if bool(losses.isfinite().all()) else None)
