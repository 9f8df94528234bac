"""Measure the curvature that the method of a run needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from surgeon_engine.api.messages.run import Stage
from surgeon_engine.curvature.collect import (
    CurvatureRequest,
    batches_to_do,
    block_factors,
    input_covariances,
)
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.base import Needs
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime.run_context import RunContext

Factors = dict[str, KroneckerFactors]  # by layer


@dataclass(frozen=True, slots=True)
class CurvatureTask:
    """What is measured."""

    layers: list[PrunableLayer]
    windows: Tensor  # windows x length
    with_gradient: bool = False


def of_units(state: PruningState, windows: Tensor) -> CurvatureTask:
    """The layers by which removals are chosen."""
    return CurvatureTask([unit.measured for unit in state.units], windows)


def measure(
    state: PruningState, wanted: CurvatureTask, context: RunContext, shot: int = 0
) -> Factors:
    """What the run's method needs to know of the wanted layers, on the host.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    match METHODS[state.config.pruning.method].needs:
        case Needs.NOTHING:
            return {layer.name: KroneckerFactors() for layer in wanted.layers}
        case Needs.INPUTS:
            task = _task(state, wanted, shot)
            batches = batches_to_do(len(task.windows), task.batch, blocks=0)
            with context.stage(Stage.CURVATURE, shot, batches) as step:
                return _on_host(input_covariances(task, step))
        case Needs.INPUTS_AND_GRADIENTS:
            factors: Factors = {}
            for of_block in measure_blocks(state, wanted, context, shot):
                factors |= of_block
            return factors


def measure_blocks(
    state: PruningState, wanted: CurvatureTask, context: RunContext, shot: int = 0
) -> Iterator[Factors]:
    """A and G of the wanted layers, block by block from the last on, on the host.

    An accelerator holds those of one block at a time.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    task = _task(state, wanted, shot)
    batches = batches_to_do(len(task.windows), task.batch, len(task.blocks))
    with context.stage(Stage.CURVATURE, shot, batches) as step:
        for measured in block_factors(task, step):
            on_host = _on_host(measured)
            measured.clear()  # whoever waits for the next block holds this no longer
            yield on_host


def _task(state: PruningState, wanted: CurvatureTask, shot: int) -> CurvatureRequest:
    config, loaded = state.config, state.loaded
    return CurvatureRequest(
        loaded.model,
        loaded.blocks,
        wanted.layers,
        wanted.windows,
        config.calibration.batch,
        config.pruning.fisher,
        config.calibration.seed + shot,
        wanted.with_gradient,
    )


def pool(factors: Factors, others: Factors, share: float) -> None:
    """Make `factors` those over both sets of windows, of which they are a `share`.

    In place, and `others` is used up: there is no room for a third set. Layers that
    share a tensor A go on sharing it.
    """
    done: set[int] = set()
    for name, pair in factors.items():
        other = others.pop(name)
        pairs = (
            (pair.A, other.A),
            (pair.G, other.G),
            (pair.gradient, other.gradient),
        )
        for mine, added in pairs:
            if mine is not None and added is not None and id(mine) not in done:
                mine.mul_(share).add_(added, alpha=1 - share)
                done.add(id(mine))


def _on_host(measured: Factors) -> Factors:
    """The factors in the machine's memory; what was one tensor stays one."""
    moved: dict[int, Tensor] = {}

    def host(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        if id(x) not in moved:
            moved[id(x)] = x.cpu()
        return moved[id(x)]

    return {
        name: KroneckerFactors(host(pair.A), host(pair.G), host(pair.gradient))
        for name, pair in measured.items()
    }
