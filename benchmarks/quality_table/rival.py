"""The rival of a job: a first-order mask and plain distillation for as long as it took.

The mask is the cheapest to have: squared gate gradients, one threshold for the whole
model, one shot, no update. Then the remaining weights are trained to match the
original's predictions on the calibration windows until the time is over: forward KL,
AdamW, a cosine schedule, batches of two windows. The last windows are held out, and
the best weights are kept. A method is worth its complexity if it beats this at equal
seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.evaluation.fidelity import Reference, reference_of
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.distillation import add_gradients
from surgeon_engine.recovery.judge import Judge
from surgeon_engine.recovery.weight_training import (
    WeightTraining,
    masks_of,
    rate_at,
    trainable,
)
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.compaction_step import compact_state
from surgeon_engine.shots.shot import run_shot
from surgeon_engine.shots.steps import ShotPlan

_BATCH = 2  # windows of a step
_RATE = 2e-4
_CHECKS = 4  # measurements of the held-out windows
_MANY_WINDOWS = 32

# The share of the time that is over after a number of steps; 1 or more: all of it.
Progress = Callable[[int], float]


def prune_and_distil(
    state: PruningState, share: float, progress: Progress, context: RunContext
) -> tuple[ShotFinished, int]:
    """Remove the cheapest parts in one shot, then train until the time is over.

    Args:
        state: the original model; pruned and trained afterwards.
        share: the share of the goal to remove.
        progress: the share of the time that is over, the mask included.
        context: receives the progress of the shot.

    Returns:
        The shot, and the steps of the training.
    """
    windows, batch = state.windows.calibration, state.config.calibration.batch
    original = reference_of(
        state.loaded.model, windows, batch, context.raise_if_cancelled
    )
    shot = run_shot(state, ShotPlan(1, share, None), context)
    compact_state(state)
    return shot, distil(state, original, progress, context)


def distil(
    state: PruningState, original: Reference, progress: Progress, context: RunContext
) -> int:
    """Train the remaining weights and keep the best; return the number of steps.

    Args:
        state: the pruned model.
        original: the calibration windows, and the original's hidden states.
        progress: the share of the time that is over.
        context: is asked whether to stop.
    """
    start = progress(0)
    if start >= 1:
        return 0
    model, dtype = state.loaded.model, state.loaded.model.dtype
    fitted, hidden, held_out = _split(original)
    judge = Judge(model, held_out, context, dtype)
    weights = WeightTraining(trainable(state), masks_of(state))
    best = judge.divergence()
    weights.start()
    generator = torch.Generator().manual_seed(state.config.calibration.seed)
    order: list[int] = []
    steps, checks = 0, 1
    is_over = False
    while not is_over:
        if len(order) < _BATCH:
            order += torch.randperm(len(fitted), generator=generator).tolist()
        chosen, order = order[:_BATCH], order[_BATCH:]
        text = Reference(fitted[chosen], [hidden[chosen]])
        add_gradients(model, text, dtype)
        done = (progress(steps) - start) / (1 - start)
        weights.step(rate_at(_RATE, steps, min(1.0, done)))
        steps += 1
        done = (progress(steps) - start) / (1 - start)
        is_over = done >= 1
        if is_over or done * _CHECKS >= checks:
            checks = math.floor(done * _CHECKS) + 1
            if (nats := judge.divergence()) < best:
                best = nats
                weights.remember()
    weights.finish()
    return steps


def _split(original: Reference) -> tuple[Tensor, Tensor, Reference]:
    """Return the windows to train on, their hidden states, and the held-out ones.

    Raises:
        CalibrationError: There is only one window.
    """
    windows, hidden = original.windows, torch.cat(original.hidden)
    if len(windows) < 2:
        raise CalibrationError(
            "One calibration window is too few to hold one out.", "Use more windows."
        )
    part = 8 if len(windows) > _MANY_WINDOWS else 4
    count = max(1, len(windows) // part)
    parts = list(hidden[-count:].split(original.batch))
    return windows[:-count], hidden[:-count], Reference(windows[-count:], parts)
