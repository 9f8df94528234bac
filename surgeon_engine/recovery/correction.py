"""Steps along the gradient of the loss, for what removal alone cannot make up for.

    W         R x C   weight of a layer after the last shot
    gradient  R x C   of the mean loss by W
    A, G              factors of the layer, damped

OBS takes the loss to be at a minimum and drops its first-order term; a pruned model is
at none. With that term the quadratic gradient . D + 1/2 tr(G D A D') is least at
D = -G^-1 gradient A^-1. There are far more weights than tokens, so that most of that
step is noise, and only a small part of it is taken: its length is doubled, or halved
where the first or twice it is no better, for as long as the loss on held-out
calibration windows falls. Those windows are never followed, so that they can judge the
next step too. What was removed stays zero.

The steps come after the last shot alone, and those tried on the way are undone. They
draw the model towards the calibration text, and curvature measured on a text that a
model has been drawn to tells less of what it needs: taken between shots, they made the
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
    Factors,
    measure_blocks,
)
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime.linalg import damped, solve
from surgeon_engine.runtime.run_context import RunContext

_DAMPING = 1.0  # multiple of the mean eigenvalue; smaller ones gained less
# Step length; a whole step would be 1. A sixteenth of it changes weights in bfloat16 by
# less than their rounding, so that the loss says nothing: the search begins above that.
_FIRST = 1.6e-3
_SHORTEST, _LONGEST = 1e-6, 1.0
_MAX_STEPS = 3  # each after a measurement of its own; later ones gain little

Directions = list[tuple[PrunableLayer, Tensor]]


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps that were taken, and the held-out loss before and after them."""

    lengths: tuple[float, ...]
    loss_before: float
    loss_after: float


def correct(state: PruningState, context: RunContext, shot: int = 0) -> Steps:
    """Take steps for as long as the held-out windows like them.

    shot: after which it is tried on the way, as a quality budget does; 0: at the end.

    Whoever stops a run gets the first step of that at the end, which gains most; on the
    way it is part of the shot. What cannot be measured ends the steps and not the run,
    whose shots are all done: it is told.

    Raises:
        CalibrationError: there are too few windows to hold any out.
    """
    _, held = parts_of(state.windows.calibration)
    before = after = held_out_loss(
        state.loaded.model, held, state.config.calibration.batch
    )
    lengths: list[float] = []
    while len(lengths) < _MAX_STEPS:
        if lengths and context.stops_after_shot and not shot:
            words = f"The correction was stopped after {len(lengths)} steps."
            context.emit(Logged(Level.INFO, words))
            break
        try:
            length, after = _step(state, after, context, shot)
        except CurvatureError as error:
            words = f"The correction ends after {len(lengths)} steps. {error.message}"
            context.emit(Logged(Level.WARNING, words))
            break
        if length == 0:
            break
        lengths.append(length)
    return Steps(tuple(lengths), before, after)


def _step(
    state: PruningState, loss: float, context: RunContext, shot: int
) -> tuple[float, float]:
    """Take the best step; its length, 0 for none, and the held-out loss after it."""
    fit, held = parts_of(state.windows.calibration)
    layers = [layer for unit in state.units for layer in unit.layers]
    directions: Directions = []
    for factors in measure_blocks(
        state, CurvatureTask(layers, fit, True), context, shot
    ):
        directions += _directions(state, factors)
    with context.stage(Stage.CORRECTION, shot):
        length, loss = _best_length(state, directions, held, loss, context)
    _move(directions, length)
    return length, loss


def parts_of(windows: Tensor) -> tuple[Tensor, Tensor]:
    """The windows whose gradient is followed, and those that judge the step.

    Raises:
        CalibrationError: there are too few to hold any out.
    """
    parts = split(windows)
    if parts is None:
        raise CalibrationError(
            f"{len(windows)} windows are too few to hold any out, by which the "
            "correction could be judged.",
            "Use 4 windows or more, or set correction to none.",
        )
    return parts


def direction(W: Tensor, factors: KroneckerFactors, is_removed: Tensor) -> Tensor:
    """-G^-1 gradient A^-1 over the rows and columns that are left.  Shape of W."""
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


def _directions(state: PruningState, factors: Factors) -> Directions:
    """The steps of the layers of a block, in float32 and on the host.

    Those of all layers are held at once, the factors are not.
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
    held: Tensor,
    loss: float,
    context: RunContext,
) -> tuple[float, float]:
    """The length of the step, and the held-out loss after it; `loss` is that before."""
    best, least = 0.0, loss
    length, factor = _FIRST, 2.0
    kept = KeptWeights([layer for layer, _ in directions])
    while _SHORTEST <= length <= _LONGEST:
        context.check()
        with kept:
            _move(directions, length)
            loss = held_out_loss(
                state.loaded.model, held, state.config.calibration.batch
            )
        if loss < least:
            best, least = length, loss
            length *= factor
        elif factor > 1 and best in (0.0, _FIRST):
            length, factor = _FIRST / 2, 0.5
        elif best:
            break
        else:
            length *= factor
    return best, least


def _move(directions: Directions, length: float) -> None:
    for layer, D in directions:
        W = layer.weight()
        layer.write(W + length * D.to(W.device))
