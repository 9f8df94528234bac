"""Judge a model by the held-out part of the calibration windows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.evaluation.perplexity import token_losses

_HELD_OUT = 4  # one of so many windows


def split(windows: Tensor) -> tuple[Tensor, Tensor] | None:
    """The windows that are measured first, and the held-out ones; None: too few."""
    held = len(windows) // _HELD_OUT
    if held == 0:
        return None
    return windows[:-held], windows[-held:]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What became of a model that was tried on held-out windows."""

    losses: Tensor | None  # of each of their tokens, in nats; None: not all are numbers

    @property
    def loss(self) -> float:
        """The mean; infinite where there is none."""
        return math.inf if self.losses is None else self.losses.mean().item()

    def is_better_beyond_chance(self, other: Trial) -> bool:
        """Whether it loses less, by more than the standard error of the difference.

        The differences of tokens are taken as independent of each other. They are not
        quite, so that it is a little more than one time in six that chance passes.
        """
        if self.losses is None:
            return False
        if other.losses is None:
            return True
        gain = other.losses - self.losses
        error = gain.std() / math.sqrt(gain.numel())
        return bool(gain.mean() > error)


def try_on(model: PreTrainedModel, held: Tensor, batch: int) -> Trial:
    """The model as it is now, tried on `held` (windows x length)."""
    losses = token_losses(model, held, batch, lambda: None)
    return Trial(losses if bool(losses.isfinite().all()) else None)


def held_out_loss(model: PreTrainedModel, held: Tensor, batch: int) -> float:
    """The mean next-token loss on `held`; infinite where it is not a number."""
    return try_on(model, held, batch).loss
