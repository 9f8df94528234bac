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
from torch import Tensor, nn

from surgeon_engine.api.errors import CalibrationError
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.evaluation.divergence import log_divergences
from surgeon_engine.evaluation.fidelity import Reference, head_logits, reference_of
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.distillation import masks_of_kept, trainable_parameters
from surgeon_engine.recovery.judge import Judge
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.compaction_step import compact_state
from surgeon_engine.shots.shot import ShotPlan, run_shot

_BATCH = 2  # windows of a step
_RATE = 2e-4
_LAST_RATE = 0.05  # of the rate, at the end of the schedule
_BETAS = (0.9, 0.95)
_WARM_UP = 5  # steps
_MAX_NORM = 1.0  # of the gradient
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
        share: of the goal to remove.
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
    parameters, masks = trainable_parameters(state), masks_of_kept(state)
    best, kept = judge.divergence(), _copies(parameters)
    _set_trainable(parameters, torch.float32)
    optimizer = torch.optim.AdamW(parameters, _RATE, _BETAS, weight_decay=0.0)
    generator = torch.Generator().manual_seed(state.config.calibration.seed)
    order: list[int] = []
    steps, checks = 0, 1
    is_over = False
    while not is_over:
        done = (progress(steps) - start) / (1 - start)
        for group in optimizer.param_groups:
            group["lr"] = _rate(steps, done)
        if len(order) < _BATCH:
            order += torch.randperm(len(fitted), generator=generator).tolist()
        chosen, order = order[:_BATCH], order[_BATCH:]
        _add_gradients(state, fitted[chosen], hidden[chosen], dtype)
        nn.utils.clip_grad_norm_(parameters, _MAX_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for weight, mask in masks:
                weight.mul_(mask)
        steps += 1
        done = (progress(steps) - start) / (1 - start)
        is_over = done >= 1
        if is_over or done * _CHECKS >= checks:
            checks = math.floor(done * _CHECKS) + 1
            if (nats := judge.divergence()) < best:
                best, kept = nats, _copies(parameters)
    _set_trainable(parameters, dtype, is_on=False)
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
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


def _rate(steps: int, done: float) -> float:
    cosine = (1 + math.cos(math.pi * min(1.0, done))) / 2
    warm_up = min(1.0, (steps + 1) / _WARM_UP)
    return _RATE * warm_up * (_LAST_RATE + (1 - _LAST_RATE) * cosine)


def _add_gradients(
    state: PruningState, tokens: Tensor, expected: Tensor, dtype: torch.dtype
) -> None:
    """Add the gradients of the mean KL(original || model) on some windows."""
    model = state.loaded.model
    tokens, expected = tokens.to(model.device), expected.to(model.device)
    with devices.fast_products(model.device, dtype):
        found = model(input_ids=tokens, use_cache=False).logits[:, :-1]
        with torch.no_grad():
            logits = head_logits(model, expected[:, :-1])
    log_p, log_q = (x.float().log_softmax(dim=-1) for x in (logits, found))
    log_divergences(log_p, log_q).mean().backward()


def _copies(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _set_trainable(
    parameters: list[nn.Parameter], dtype: torch.dtype, *, is_on: bool = True
) -> None:
    for parameter in parameters:
        parameter.grad = None
        parameter.requires_grad_(is_on)
        parameter.data = parameter.data.to(dtype)
