"""The model under the knife: its parts, what has gone so far, and its curvature."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.calibration.windows import TokenWindows
from surgeon_engine.config import RunConfig
from surgeon_engine.curvature.collect import (
    Measurement,
    batches_to_do,
    block_factors,
    input_covariances,
)
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.events import LayerSparsity, Stage
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.method import Needs
from surgeon_engine.pruning.unit import Unit
from surgeon_engine.session import Session
from surgeon_engine.sizes import Goal

Factors = dict[str, KroneckerFactors]  # by layer


@dataclass(slots=True, eq=False)
class Patient:
    """What a run works on; only `gone` and the weights of the model change."""

    config: RunConfig
    loaded: LoadedModel
    windows: TokenWindows
    units: tuple[Unit, ...]
    goal: Goal
    gone: dict[str, Tensor]  # unit -> candidates, bool

    def sparsities(self) -> tuple[LayerSparsity, ...]:
        """How much of each layer is gone."""
        removed = {
            layer.name: int(is_gone.sum())
            for unit in self.units
            for layer, is_gone in unit.zeros(self.gone[unit.measured.name])
        }
        return tuple(
            LayerSparsity(
                layer.name,
                layer.block,
                layer.kind,
                layer.weights,
                removed.get(layer.name, 0),
            )
            for layer in self.loaded.layers
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is measured."""

    layers: list[PrunableLayer]
    windows: Tensor  # windows x length
    with_gradient: bool = False


def of_units(patient: Patient, windows: Tensor) -> Wanted:
    """The layers by which removals are chosen."""
    return Wanted([unit.measured for unit in patient.units], windows)


def measure(
    patient: Patient, wanted: Wanted, session: Session, shot: int = 0
) -> Factors:
    """What the run's method needs to know of the wanted layers.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    config, loaded = patient.config, patient.loaded
    task = Measurement(
        loaded.model,
        loaded.blocks,
        wanted.layers,
        wanted.windows,
        config.calibration.batch,
        config.pruning.fisher,
        config.calibration.seed + shot,
        wanted.with_gradient,
    )
    match METHODS[config.pruning.method].needs:
        case Needs.NOTHING:
            return {layer.name: KroneckerFactors() for layer in wanted.layers}
        case Needs.INPUTS:
            batches = batches_to_do(len(task.windows), task.batch, blocks=0)
            with session.stage(Stage.CURVATURE, shot, batches) as step:
                return input_covariances(task, step)
        case Needs.INPUTS_AND_GRADIENTS:
            factors: Factors = {}
            batches = batches_to_do(len(task.windows), task.batch, len(task.blocks))
            with session.stage(Stage.CURVATURE, shot, batches) as step:
                for measured in block_factors(task, step):
                    factors |= measured
            return factors


def pooled(one: Factors, other: Factors, share: float) -> Factors:
    """The factors over both sets of windows; `share` of them are those of `one`.

    Layers that share a tensor A go on sharing it.
    """
    seen: dict[int, Tensor] = {}

    def mean(x: Tensor | None, y: Tensor | None) -> Tensor | None:
        if x is None or y is None:
            return None
        if id(x) not in seen:
            seen[id(x)] = torch.lerp(y, x, share)
        return seen[id(x)]

    return {
        name: KroneckerFactors(
            mean(pair.A, other[name].A),
            mean(pair.G, other[name].G),
            mean(pair.gradient, other[name].gradient),
        )
        for name, pair in one.items()
    }
