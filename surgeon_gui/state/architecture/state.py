"""The layers of a model before and after pruning: by a run, by a plan, or unpruned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

import numpy as np

from surgeon_engine.api.config.layer_patterns import any_matches, min_kept_share
from surgeon_engine.api.config.pruning import COUPLINGS, Coupling, PruningConfig
from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_engine.api.messages.run import GroupsLeft, LayerSparsity
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_gui.state.diagnosis.costs import Bins, Costs
from surgeon_gui.state.diagnosis.planner import RemovalPlan
from surgeon_gui.state.experts import planned_experts
from surgeon_gui.state.run import RunState


class Source(Enum):
    """Origin of the sizes after pruning."""

    MODEL = "model"  # unpruned: before and after are the same
    PLAN = "plan"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Rows and columns of a layer; -1 means unknown."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer before and after pruning."""

    name: str
    block: int
    kind: str
    before: LayerShape
    after: LayerShape
    weights: int
    removed: int
    cost: float | None  # loss increase; None: counted in a coupled layer, or unknown
    cost_share: float | None  # of the total cost
    groups: GroupsLeft | None = None  # None: it has no heads, neurons or experts
    is_protected: bool = False  # for the next run
    is_effectively_protected: bool = False  # or coupled with a protected layer
    min_density: float = 0.0  # in the next run
    is_experts: bool = False  # each column has all weights of an expert
    neurons: GroupsLeft | None = None  # of each expert

    @property
    def sparsity(self) -> float:
        """Share of the weights that is removed."""
        return self.removed / self.weights


@dataclass(frozen=True, slots=True)
class Block:
    """The layers of one block, with their totals."""

    number: int
    layers: tuple[Layer, ...]

    @property
    def weights(self) -> int:
        """Weights before pruning."""
        return sum(layer.weights for layer in self.layers)

    @property
    def removed(self) -> int:
        """Weights removed."""
        return sum(layer.removed for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of the weights that is removed."""
        return self.removed / self.weights

    @property
    def cost(self) -> float | None:
        """Total cost of its layers; None if unknown."""
        return _sum(layer.cost for layer in self.layers)

    @property
    def cost_share(self) -> float | None:
        """Share of the model's total cost; None if unknown."""
        return _sum(layer.cost_share for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model before and after pruning."""

    source: Source = Source.MODEL
    blocks: tuple[Block, ...] = ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of all blocks."""
        return tuple(layer for block in self.blocks for layer in block.layers)

    def layer(self, name: str) -> Layer | None:
        """Return the layer with that name, or None."""
        return next((layer for layer in self.layers if layer.name == name), None)


@dataclass(frozen=True, slots=True)
class _LayerAfter:
    """Remaining size of a layer."""

    shape: LayerShape
    removed: int
    cost: float | None
    groups: GroupsLeft | None = None
    neurons: GroupsLeft | None = None  # of each expert


def original_architecture(model: ModelSummary, pruning: PruningConfig) -> Architecture:
    """Return the architecture of the unpruned model."""
    return _architecture(Source.MODEL, model, pruning, {})


def pruned_architecture(
    model: ModelSummary, run: RunState, pruning: PruningConfig
) -> Architecture:
    """Return the architecture after the latest shot of a run."""
    after = {layer.name: _after_run(layer) for layer in run.layers}
    return _architecture(Source.RUN, model, pruning, after)


def planned_architecture(
    model: ModelSummary, costs: Costs, plan: RemovalPlan, pruning: PruningConfig
) -> Architecture:
    """Return the architecture that a plan would lead to."""
    after: dict[str, _LayerAfter] = {}
    for number, unit in enumerate(costs.units):
        after |= _after_plan(costs, unit, number, plan)
    return _architecture(Source.PLAN, model, pruning, after)


def _architecture(
    source: Source,
    model: ModelSummary,
    pruning: PruningConfig,
    after: Mapping[str, _LayerAfter],
) -> Architecture:
    total_cost = sum(each.cost for each in after.values() if each.cost is not None)
    coupled = _coupled_layers(model, pruning)
    layers = [
        _layer(x, after.get(x.name), total_cost, pruning, coupled.get(x.name, (x,)))
        for x in model.layers
    ]
    layers.sort(key=lambda layer: layer.block)  # stable sort: keeps the order of kinds
    blocks = groupby(layers, key=lambda layer: layer.block)
    return Architecture(
        source, tuple(Block(number, tuple(members)) for number, members in blocks)
    )


def _coupled_layers(
    model: ModelSummary, pruning: PruningConfig
) -> dict[str, tuple[LayerSummary, ...]]:
    """Map each layer of a group to the layers of its group, itself included."""
    by_name = {layer.name: layer for layer in model.layers}
    kinds = COUPLINGS.get(pruning.structure, ())
    return {
        name: tuple(by_name[member] for member in group.layers)
        for group in model.coupled
        if group.kind in kinds
        for name in group.layers
    }


def _layer(
    original: LayerSummary,
    after: _LayerAfter | None,
    total_cost: float,
    pruning: PruningConfig,
    coupled: tuple[LayerSummary, ...],
) -> Layer:
    before = LayerShape(original.rows, original.columns)
    if after is None:
        after = _LayerAfter(before, removed=0, cost=None)
    share = None
    if after.cost is not None and total_cost > 0:
        share = after.cost / total_cost
    return Layer(
        name=original.name,
        block=original.block,
        kind=original.kind,
        before=before,
        after=after.shape,
        weights=original.weights,
        removed=after.removed,
        cost=after.cost,
        cost_share=share,
        groups=after.groups,
        is_protected=any_matches((original,), pruning.protect),
        is_effectively_protected=any_matches(coupled, pruning.protect),
        min_density=min_kept_share(
            pruning.min_density, pruning.layer_min_density, coupled
        ),
        is_experts=original.is_experts,
        neurons=after.neurons,
    )


def _after_run(layer: LayerSparsity) -> _LayerAfter:
    is_coupled = bool(layer.removed) and not layer.cost
    return _LayerAfter(
        LayerShape(layer.rows_kept, layer.columns_kept),
        layer.removed,
        None if is_coupled else layer.cost,
        layer.groups,
        layer.neurons,
    )


def _after_plan(
    costs: Costs, unit: DiagnosedUnit, number: int, plan: RemovalPlan
) -> dict[str, _LayerAfter]:
    found, taken = costs.found, int(plan.removals[number])
    first = unit.layers[0]
    if isinstance(found, Bins):
        at = min(int((found.so_far[number] < taken).sum()), len(found.cost) - 1)
        counts = np.diff(found.so_far[number, : at + 1], prepend=0)
        cost = float((counts * found.cost[: at + 1]).sum())
        cost -= float(found.so_far[number, at] - taken) * float(found.cost[at])
        shape = LayerShape(first.rows, first.columns)
        return {first.name: _LayerAfter(shape, taken, cost if taken else 0.0)}
    last = int(found.start[number]) + taken - 1
    cost = float(found.rise_so_far[last]) if taken else 0.0
    if unit.group == "layer":
        rows = int(found.rows_so_far[last]) if taken else 0
        shape = LayerShape(first.rows - rows, first.columns - (taken - rows))
        return {first.name: _LayerAfter(shape, int(plan.weights[number]), cost)}
    if unit.neurons:
        experts = planned_experts(costs, number, plan)
        left = unit.candidates - experts
        neurons = unit.neurons - (taken - experts)
        return {
            first.name: _LayerAfter(
                LayerShape(first.rows, left),
                int(plan.weights[number]),
                cost,
                GroupsLeft(unit.group, left, unit.candidates),
                GroupsLeft(Coupling.EXPERT_NEURONS.value, neurons, unit.neurons),
            )
        }
    groups = GroupsLeft(unit.group, unit.candidates - taken, unit.candidates)
    size = first.columns // unit.candidates
    after = {
        first.name: _LayerAfter(
            LayerShape(first.rows, first.columns - taken * size),
            taken * first.each,
            cost,
            groups,
        )
    }
    for layer in unit.layers[1:]:
        rows = taken * (layer.rows // unit.candidates)
        shape = LayerShape(layer.rows - rows, layer.columns)
        after[layer.name] = _LayerAfter(shape, taken * layer.each, None, groups)
    return after


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
