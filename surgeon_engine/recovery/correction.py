"""Correct the pruned model by steps along the gradient of the loss.

    W         R x C   weight of a layer after the last shot
    gradient  R x C   of the mean loss by W
    A, G              factors of the layer, damped

OBS assumes that the loss is at a minimum and drops its first-order term; a pruned model
is not at one. With that term the quadratic gradient . D + 1/2 tr(G D A D') is smallest
at D = -G^-1 gradient A^-1. There are far more weights than tokens, so that most of this
step is noise, and only a small part of it is taken: its length is doubled, or halved
if neither the first length nor twice that helps, for as long as the loss on held-out
calibration windows falls. Their gradient is never used, so that they can judge the next
step, too. Removed weights stay zero.

The correction comes after the last shot alone; corrections tried before are rolled
back. They fit the model to the calibration text, and curvature measured on a text that
a model was fitted to says less about what it needs: taken between shots, they made the
next shots worse (docs/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.api.errors import CalibrationError, CurvatureError
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.evaluation.held_out import held_out_loss, split
from surgeon_engine.model.layers import KeptWeights, PrunableLayer
from surgeon_engine.pruning.measure_curvature import (
    CurvatureTask,
    measure_blocks,
)
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime.linalg import damped, solve
from surgeon_engine.runtime.run_context import RunContext

_DAMPING = 1.0  # multiple of the mean eigenvalue; smaller ones gained less
# Step length; 1 would be a whole step. A sixteenth of it changes weights in bfloat16 by
# less than their rounding and the loss by nothing but noise: the search starts above.
_FIRST = 1.6e-3
_MIN_LENGTH, _MAX_LENGTH = 1e-6, 1.0
_MAX_STEPS = 3  # each after a measurement of its own; later ones gain little

Directions = list[tuple[PrunableLayer, Tensor]]


@dataclass(frozen=True, slots=True)
class Steps:
    """The lengths of the steps, and the held-out loss before and after them."""

    lengths: tuple[float, ...]
    loss_before: float
    loss_after: float


def correct(state: PruningState, context: RunContext, shot: int = 0) -> Steps:
    """Take steps for as long as the held-out loss falls.

    If the run is stopped, only the first step is taken at the end; it gives most of the
    gain. If the gradient cannot be measured, a warning is logged and the steps end, but
    not the run, whose shots are complete.

    Args:
        state: the pruned model.
        context: receives progress and warnings.
        shot: the shot whose correction is tried for a quality budget; 0: the end of
            the run.

    Raises:
        CalibrationError: there are too few windows to hold any out.
    """
    _, held_out = parts_of(state.windows.calibration)
    before = after = held_out_loss(
        state.loaded.model, held_out, state.config.calibration.batch
    )
    lengths: list[float] = []
    while len(lengths) < _MAX_STEPS:
        if lengths and context.stops_after_shot and not shot:
            message = f"The correction was stopped after {len(lengths)} steps."
            context.emit(Logged(Level.INFO, message))
            break
        try:
            length, after = _step(state, after, context, shot)
        except CurvatureError as error:
            message = f"The correction ends after {len(lengths)} steps. {error.message}"
            context.emit(Logged(Level.WARNING, message))
            break
        if length == 0:
            break
        lengths.append(length)
    return Steps(tuple(lengths), before, after)


def _step(
    state: PruningState, loss: float, context: RunContext, shot: int
) -> tuple[float, float]:
    """Take the best step; return its length, 0 for none, and the loss after it."""
    fit, held_out = parts_of(state.windows.calibration)
    layers = [layer for unit in state.units for layer in unit.layers]
    directions: Directions = []
    for factors in measure_blocks(
        state, CurvatureTask(layers, fit, True), context, shot
    ):
        directions += _directions(state, factors)
    with context.stage(Stage.CORRECTION, shot):
        length, loss = _best_length(state, directions, held_out, loss, context)
    _move(directions, length)
    return length, loss


def parts_of(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Split the windows into those for the gradient and those that judge the step.

    Raises:
        CalibrationError: there are too few windows to hold any out.
    """
    parts = split(windows)
    if parts is None:
        raise CalibrationError(
            f"{len(windows)} windows are too few to hold any out, which the correction "
            "needs to judge its steps.",
            "Use 4 windows or more, or set correction to none.",
        )
    return parts


def direction(W: Tensor, factors: KroneckerFactors, is_removed: Tensor) -> Tensor:
    """Return -G^-1 gradient A^-1 over the remaining rows and columns.  Shape of W."""
    assert factors.A is not None
    assert factors.G is not None
    assert factors.gradient is not None
    row, column = ~is_removed.all(dim=1), ~is_removed.all(dim=0)
    A, G, gradient = (
        M.to(W.device).double() for M in (factors.A, factors.G, factors.gradient)
    )
    A = damped(A[column][:, column], _DAMPING)
    G = damped(G[row][:, row], _DAMPING)
    gradient = gradient[row][:, column]
    D = torch.zeros_like(W)
    D[row.unsqueeze(1) & column] = -solve(A, solve(G, gradient).T).T.flatten()
    return D.masked_fill(is_removed, 0)


def _directions(
    state: PruningState, factors: dict[str, KroneckerFactors]
) -> Directions:
    """Return the steps of the layers of a block, in float32 on the host.

    The steps of all layers are held at once, unlike their factors.
    """
    result: Directions = []
    for unit in state.units:
        if unit.measured.name not in factors:
            continue
        for layer, is_removed in unit.zeros(state.removed[unit.measured.name]):
            W = layer.weight()
            D = direction(W, factors[layer.name], is_removed.to(W.device))
            result.append((layer, D.float().cpu()))
    return result


def _best_length(
    state: PruningState,
    directions: Directions,
    held_out: Tensor,
    loss: float,
    context: RunContext,
) -> tuple[float, float]:
    """Return the best length of the step and the held-out loss after it.

    `loss` is the held-out loss before the step. The weights are put back.
    """
    best, lowest = 0.0, loss
    length, factor = _FIRST, 2.0
    kept = KeptWeights([layer for layer, _ in directions])
    while _MIN_LENGTH <= length <= _MAX_LENGTH:
        context.raise_if_cancelled()
        with kept:
            _move(directions, length)
            loss = held_out_loss(
                state.loaded.model, held_out, state.config.calibration.batch
            )
        if loss < lowest:
            best, lowest = length, loss
            length *= factor
        elif factor > 1 and best in (0.0, _FIRST):
            length, factor = _FIRST / 2, 0.5
        elif best:
            break
        else:
            length *= factor
    return best, lowest


def _move(directions: Directions, length: float) -> None:
    for layer, D in directions:
        W = layer.weight()
        layer.write(W + length * D.to(W.device))
