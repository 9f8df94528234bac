"""Every layer before and after: after a run, as planned, or as the model is.

Knows nothing of Qt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from surgeon_engine.api.config.layer_patterns import any_matches, min_kept_share
from surgeon_engine.api.config.pruning import COUPLINGS, PruningConfig
from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_engine.api.messages.run import LayerSparsity
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_gui.state.diagnosis.costs import Bins, Costs, Ints
from surgeon_gui.state.diagnosis.planner import Plan
from surgeon_gui.state.run import RunState


class Source(Enum):
    """Where the widths after the cut are from."""

    MODEL = "model"  # nothing is known: before and after are the same
    PLAN = "plan"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows and columns of a layer; -1: not known."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer before and after."""

    name: str
    block: int
    kind: str
    before: Shape
    after: Shape
    weights: int
    removed: int
    cost: float | None  # raw; None: goes along with another, or not known
    cost_share: float | None  # of all costs
    groups: str = ""  # "heads", "neurons"
    groups_kept: int = 0
    groups_of: int = 0
    is_protected: bool = False  # for the next run
    stays: bool = False  # protected, or goes with one that is
    least: float = 0.0  # the share that the next run keeps

    @property
    def sparsity(self) -> float:
        """Share of its weights that is gone."""
        return self.removed / self.weights


@dataclass(frozen=True, slots=True)
class Block:
    """The layers of one block, and their sums."""

    number: int
    layers: tuple[Layer, ...]

    @property
    def weights(self) -> int:
        """Before the cut."""
        return sum(layer.weights for layer in self.layers)

    @property
    def removed(self) -> int:
        """Weights that are gone."""
        return sum(layer.removed for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of its weights that is gone."""
        return self.removed / self.weights

    @property
    def cost(self) -> float | None:
        """Of all its layers; None: not known."""
        return _sum(layer.cost for layer in self.layers)

    @property
    def cost_share(self) -> float | None:
        """Of all costs of the model; None: not known."""
        return _sum(layer.cost_share for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model before and after."""

    source: Source = Source.MODEL
    blocks: tuple[Block, ...] = ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Of all blocks."""
        return tuple(layer for block in self.blocks for layer in block.layers)

    def layer(self, name: str) -> Layer | None:
        """The layer of that name."""
        return next((layer for layer in self.layers if layer.name == name), None)


@dataclass(frozen=True, slots=True)
class _After:
    """What is left of a layer."""

    shape: Shape
    removed: int
    cost: float | None
    groups: tuple[str, int, int] = ("", 0, 0)


def of_model(model: ModelSummary, pruning: PruningConfig) -> Architecture:
    """Nothing is cut."""
    return _architecture(Source.MODEL, model, pruning, {})


def of_run(model: ModelSummary, run: RunState, pruning: PruningConfig) -> Architecture:
    """As the latest shot of a run has left the layers."""
    after = {layer.name: _after_run(layer) for layer in run.layers}
    return _architecture(Source.RUN, model, pruning, after)


def of_plan(
    model: ModelSummary, costs: Costs, plan: Plan, pruning: PruningConfig
) -> Architecture:
    """As the draft's target would leave the layers, by a diagnosis."""
    after: dict[str, _After] = {}
    for number, unit in enumerate(costs.units):
        after |= _after_plan(costs, unit, number, plan)
    return _architecture(Source.PLAN, model, pruning, after)


def _architecture(
    source: Source,
    model: ModelSummary,
    pruning: PruningConfig,
    after: Mapping[str, _After],
) -> Architecture:
    total_cost = sum(each.cost for each in after.values() if each.cost is not None)
    along = _coupled_layers(model, pruning)
    layers = [
        _layer(x, after.get(x.name), total_cost, pruning, along.get(x.name, (x,)))
        for x in model.layers
    ]
    layers.sort(key=lambda layer: layer.block)  # stable: kinds stay in their order
    blocks = groupby(layers, key=lambda layer: layer.block)
    return Architecture(
        source, tuple(Block(number, tuple(mine)) for number, mine in blocks)
    )


def _coupled_layers(
    model: ModelSummary, pruning: PruningConfig
) -> dict[str, tuple[LayerSummary, ...]]:
    """The layers with which each one goes, itself among them; for layers of groups."""
    by_name = {layer.name: layer for layer in model.layers}
    kinds = COUPLINGS.get(pruning.kind, ())
    return {
        name: tuple(by_name[each] for each in one.layers)
        for one in model.coupled
        if one.kind in kinds
        for name in one.layers
    }


def _layer(
    was: LayerSummary,
    after: _After | None,
    total_cost: float,
    pruning: PruningConfig,
    along: tuple[LayerSummary, ...],
) -> Layer:
    before = Shape(was.rows, was.columns)
    if after is None:
        after = _After(before, removed=0, cost=None)
    share = None
    if after.cost is not None and total_cost > 0:
        share = after.cost / total_cost
    kind, kept, of = after.groups
    return Layer(
        name=was.name,
        block=was.block,
        kind=was.kind,
        before=before,
        after=after.shape,
        weights=was.weights,
        removed=after.removed,
        cost=after.cost,
        cost_share=share,
        groups=kind,
        groups_kept=kept,
        groups_of=of,
        is_protected=any_matches((was,), pruning.protect),
        stays=any_matches(along, pruning.protect),
        least=min_kept_share(pruning.min_density, pruning.layer_min_density, along),
    )


def _after_run(layer: LayerSparsity) -> _After:
    groups = ("", 0, 0)
    if layer.groups is not None:
        groups = (layer.groups.kind, layer.groups.kept, layer.groups.of)
    is_coupled = bool(layer.removed) and not layer.cost
    return _After(
        Shape(layer.rows_kept, layer.columns_kept),
        layer.removed,
        None if is_coupled else layer.cost,
        groups,
    )


def _after_plan(
    costs: Costs, unit: DiagnosedUnit, number: int, plan: Plan
) -> dict[str, _After]:
    found, taken = costs.found, int(plan.taken[number])
    first = unit.layers[0]
    if isinstance(found, Bins):
        at = min(int((found.so_far[number] < taken).sum()), len(found.cost) - 1)
        cost = float((_counts(found, number)[: at + 1] * found.cost[: at + 1]).sum())
        cost -= float(found.so_far[number, at] - taken) * float(found.cost[at])
        shape = Shape(first.rows, first.columns)
        return {first.name: _After(shape, taken, cost if taken else 0.0)}
    last = int(found.start[number]) + taken - 1
    cost = float(found.rise_so_far[last]) if taken else 0.0
    if unit.group == "layer":
        rows = int(found.rows_so_far[last]) if taken else 0
        shape = Shape(first.rows - rows, first.columns - (taken - rows))
        return {first.name: _After(shape, int(plan.weights[number]), cost)}
    groups = (unit.group, unit.candidates - taken, unit.candidates)
    size = first.columns // unit.candidates
    after = {
        first.name: _After(
            Shape(first.rows, first.columns - taken * size),
            taken * first.each,
            cost,
            groups,
        )
    }
    for layer in unit.layers[1:]:
        rows = taken * (layer.rows // unit.candidates)
        shape = Shape(layer.rows - rows, layer.columns)
        after[layer.name] = _After(shape, taken * layer.each, None, groups)
    return after


def _counts(found: Bins, number: int) -> Ints:
    so_far = found.so_far[number]
    counts = so_far.copy()
    counts[1:] -= so_far[:-1]
    return counts


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
