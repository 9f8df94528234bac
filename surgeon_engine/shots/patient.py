"""The model under the knife: its parts, what has gone so far, and its curvature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

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
from surgeon_engine.events import LayerSparsity, ModelSummary, Stage
from surgeon_engine.live import GroupsLeft
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.heads_and_neurons import CoupledUnit
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.method import Needs
from surgeon_engine.pruning.unit import Unit
from surgeon_engine.session import Session
from surgeon_engine.sizes import Goal

Factors = dict[str, KroneckerFactors]  # by layer


@dataclass(slots=True, eq=False)
class Patient:
    """What a run works on.

    What a shot removes is zero in the model, and `gone`; between shots it may be taken
    out of the model altogether (shrinking.py).
    """

    config: RunConfig
    loaded: LoadedModel
    windows: TokenWindows
    units: tuple[Unit, ...]
    goal: Goal
    original: ModelSummary  # of the model as it was found
    gone: dict[str, Tensor]  # unit -> candidates, bool
    kept: dict[str, Tensor] = field(default_factory=dict)  # unit -> groups still in it
    paid: dict[str, float] = field(default_factory=dict)  # unit -> costs so far
    is_cut_open: bool = False  # some weights may be those of a shot that has not ended

    @property
    def cut(self) -> int:
        """Weights that are out of the model."""
        return self.original.prunable - sum(x.weights for x in self.loaded.layers)

    def sparsities(self) -> tuple[LayerSparsity, ...]:
        """How much of each layer is gone, and what is left of it."""
        left = {
            layer.name: _Left.of(layer, is_gone, _groups(unit, self))
            for unit in self.units
            for layer, is_gone in unit.zeros(self.gone[unit.measured.name])
        }
        result = []
        for had, layer in zip(self.original.layers, self.loaded.layers, strict=True):
            rest = left.get(had.name) or _Left.all_of(layer)
            result.append(
                LayerSparsity(
                    had.name,
                    had.block,
                    had.kind,
                    had.weights,
                    had.weights - rest.weights,
                    cost=self.paid.get(had.name, 0.0),
                    rows_kept=rest.rows,
                    columns_kept=rest.columns,
                    groups=rest.groups,
                )
            )
        return tuple(result)


@dataclass(frozen=True, slots=True)
class _Left:
    """What is left of a layer."""

    weights: int
    rows: int
    columns: int
    groups: GroupsLeft | None = None

    @classmethod
    def all_of(cls, layer: PrunableLayer) -> _Left:
        return cls(layer.weights, layer.rows, layer.columns)

    @classmethod
    def of(
        cls, layer: PrunableLayer, is_gone: Tensor, groups: GroupsLeft | None
    ) -> _Left:
        column_is_gone = is_gone[:, : layer.columns].all(dim=0)  # not of the bias
        return cls(
            layer.weights - int(is_gone.sum()),
            layer.rows - int(is_gone.all(dim=1).sum()),
            layer.columns - int(column_is_gone.sum()),
            groups,
        )


def _groups(unit: Unit, patient: Patient) -> GroupsLeft | None:
    if not isinstance(unit, CoupledUnit):
        return None
    gone = int(patient.gone[unit.measured.name].sum())
    kept = unit.candidates - gone
    return GroupsLeft(unit.coupled.kind.value, kept, unit.originally)


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
    """What the run's method needs to know of the wanted layers, on the host.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    match METHODS[patient.config.pruning.method].needs:
        case Needs.NOTHING:
            return {layer.name: KroneckerFactors() for layer in wanted.layers}
        case Needs.INPUTS:
            task = _task(patient, wanted, shot)
            batches = batches_to_do(len(task.windows), task.batch, blocks=0)
            with session.stage(Stage.CURVATURE, shot, batches) as step:
                return _on_host(input_covariances(task, step))
        case Needs.INPUTS_AND_GRADIENTS:
            factors: Factors = {}
            for of_block in measure_blocks(patient, wanted, session, shot):
                factors |= of_block
            return factors


def measure_blocks(
    patient: Patient, wanted: Wanted, session: Session, shot: int = 0
) -> Iterator[Factors]:
    """A and G of the wanted layers, block by block from the last on, on the host.

    An accelerator holds those of one block at a time.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    task = _task(patient, wanted, shot)
    batches = batches_to_do(len(task.windows), task.batch, len(task.blocks))
    with session.stage(Stage.CURVATURE, shot, batches) as step:
        for measured in block_factors(task, step):
            on_host = _on_host(measured)
            measured.clear()  # whoever waits for the next block holds this no longer
            yield on_host


def _task(patient: Patient, wanted: Wanted, shot: int) -> Measurement:
    config, loaded = patient.config, patient.loaded
    return Measurement(
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
