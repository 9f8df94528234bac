"""The layers of a model before and after pruning: by a run, by a plan, or unpruned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby

import numpy as np

from surgeon_engine.api.config.layer_patterns import any_matches
from surgeon_engine.api.config.pruning import COUPLINGS, Coupling, PruningConfig
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
    removed: int = 0
    cost: float | None = None  # loss increase; None: of a coupled layer, or unknown
    cost_share: float | None = None  # share of the total cost
    groups: GroupsLeft | None = None  # None: it has no heads, neurons or experts
    is_protected: bool = False  # for the next run
    is_effectively_protected: bool = False  # or coupled with a protected layer
    min_density: float = 0.0  # in the next run
    is_experts: bool = False  # each column has all weights of an expert
    neurons: GroupsLeft | None = None  # in each expert

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


def original_architecture(model: ModelSummary, pruning: PruningConfig) -> Architecture:
    """Return the architecture of the unpruned model."""
    return _architecture(Source.MODEL, _layers(model, pruning))


def pruned_architecture(
    model: ModelSummary, run: RunState, pruning: PruningConfig
) -> Architecture:
    """Return the architecture after the latest shot of a run."""
    found = {layer.name: layer for layer in run.layers}
    layers = {
        name: _after_run(layer, found[name]) if name in found else layer
        for name, layer in _layers(model, pruning).items()
    }
    return _architecture(Source.RUN, layers)


def planned_architecture(
    model: ModelSummary, costs: Costs, plan: RemovalPlan, pruning: PruningConfig
) -> Architecture:
    """Return the architecture that a plan would lead to."""
    layers = _layers(model, pruning)
    for number, unit in enumerate(costs.units):
        layers |= _after_plan(
            [layers[x.name] for x in unit.layers], costs, number, plan
        )
    return _architecture(Source.PLAN, layers)


def _architecture(source: Source, layers: Mapping[str, Layer]) -> Architecture:
    total = sum(x.cost for x in layers.values() if x.cost is not None)
    shown = [
        replace(x, cost_share=x.cost / total) if x.cost is not None and total > 0 else x
        for x in layers.values()
    ]
    shown.sort(key=lambda layer: layer.block)  # stable sort: keeps the order of kinds
    blocks = groupby(shown, key=lambda layer: layer.block)
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


def _layers(model: ModelSummary, pruning: PruningConfig) -> dict[str, Layer]:
    """Return the unpruned layers by name, with the rules of the next run."""
    coupled, found = _coupled_layers(model, pruning), {}
    for each in model.layers:
        shape = LayerShape(each.rows, each.columns)
        members = coupled.get(each.name, (each,))
        found[each.name] = Layer(
            name=each.name,
            block=each.block,
            kind=each.kind,
            before=shape,
            after=shape,
            weights=each.weights,
            is_protected=any_matches((each,), pruning.protect),
            is_effectively_protected=any_matches(members, pruning.protect),
            min_density=pruning.share_to_keep(members),
            is_experts=each.is_experts,
        )
    return found


def _after_run(layer: Layer, found: LayerSparsity) -> Layer:
    is_coupled = bool(found.removed) and not found.cost
    return replace(
        layer,
        after=LayerShape(found.rows_kept, found.columns_kept),
        removed=found.removed,
        cost=None if is_coupled else found.cost,
        groups=found.groups,
        neurons=found.neurons,
    )


def _after_plan(
    layers: Sequence[Layer], costs: Costs, number: int, plan: RemovalPlan
) -> dict[str, Layer]:
    """Return the layers of a unit after a plan."""
    found, unit, taken = costs.found, costs.units[number], int(plan.removals[number])
    first, shape = layers[0], layers[0].before
    if isinstance(found, Bins):
        at = min(int((found.so_far[number] < taken).sum()), len(found.cost) - 1)
        counts = np.diff(found.so_far[number, : at + 1], prepend=0)
        cost = float((counts * found.cost[: at + 1]).sum())
        cost -= float(found.so_far[number, at] - taken) * float(found.cost[at])
        return {first.name: replace(first, removed=taken, cost=cost if taken else 0.0)}
    last = int(found.start[number]) + taken - 1
    cost = float(found.rise_so_far[last]) if taken else 0.0
    first = replace(first, removed=int(plan.weights[number]), cost=cost)
    if unit.group == "layer":
        rows = int(found.rows_so_far[last]) if taken else 0
        shape = LayerShape(shape.rows - rows, shape.columns - (taken - rows))
        return {first.name: replace(first, after=shape)}
    if unit.neurons:
        experts = planned_experts(costs, number, plan)
        left = unit.candidates - experts
        neurons = unit.neurons - (taken - experts)
        first = replace(
            first,
            after=LayerShape(shape.rows, left),
            groups=GroupsLeft(unit.group, left, unit.candidates),
            neurons=GroupsLeft(Coupling.EXPERT_NEURONS.value, neurons, unit.neurons),
        )
        return {first.name: first}
    groups = GroupsLeft(unit.group, unit.candidates - taken, unit.candidates)
    after = {}
    for layer, each in zip(layers, unit.layers, strict=True):
        rows, columns = layer.before.rows, layer.before.columns
        if layer is layers[0]:
            columns -= taken * (columns // unit.candidates)
        else:
            rows -= taken * (rows // unit.candidates)
        after[layer.name] = replace(
            layer,
            after=LayerShape(rows, columns),
            removed=taken * each.each,
            cost=cost if layer is layers[0] else None,
            groups=groups,
        )
    return after


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
