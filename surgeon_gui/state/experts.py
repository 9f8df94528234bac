"""The experts of a model as cells of a map: a row for each block, a column for each.

The shade is what the removal of an expert costs, on a logarithmic scale, or the share
of the tokens that are routed to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_engine.api.messages.run import Routing, experts_left, neurons_left
from surgeon_gui.base.translation import tr
from surgeon_gui.state.diagnosis.costs import Bins, Costs
from surgeon_gui.state.diagnosis.planner import RemovalPlan
from surgeon_gui.state.run import RunState
from surgeon_gui.text import numbers
from surgeon_gui.text.chart_values import Cell

EXPERTS = Coupling.EXPERTS.value


class ExpertMeasure(Enum):
    """Figures that the map of the experts can show."""

    COST = "cost"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class BlockRouting:
    """The experts of a block."""

    layer: str
    block: int
    routing: Routing


Routings = tuple[BlockRouting, ...]


def routings_of_run(run: RunState) -> Routings:
    """Return the experts of all blocks after the latest shot of a run."""
    return tuple(
        BlockRouting(layer.name, layer.block, layer.routing)
        for layer in run.layers
        if layer.routing is not None
    )


def routings_of_plan(costs: Costs, plan: RemovalPlan | None) -> Routings:
    """Return the experts of all diagnosed blocks, without those that a plan removes."""
    return tuple(
        BlockRouting(
            unit.name,
            unit.layers[0].block,
            _planned(unit, planned_experts(costs, number, plan) if plan else 0),
        )
        for number, unit in enumerate(costs.units)
        if unit.routing is not None
    )


def planned_experts(costs: Costs, number: int, plan: RemovalPlan) -> int:
    """Return how many experts of a unit a plan removes."""
    taken, found = int(plan.removals[number]), costs.found
    if not taken or not costs.units[number].neurons or isinstance(found, Bins):
        return taken
    return int(found.rows_so_far[int(found.start[number]) + taken - 1])


def _planned(unit: DiagnosedUnit, removed: int) -> Routing:
    """Return the experts of a unit after the cheapest of each class are removed."""
    assert unit.routing is not None
    costs, size = unit.routing.costs, unit.candidates // unit.classes
    kept: list[int] = []
    for first in range(0, unit.candidates, size):
        experts = sorted(range(first, first + size), key=costs.__getitem__)
        kept += experts[removed // unit.classes :]
    return msgspec.structs.replace(unit.routing, kept=tuple(sorted(kept)))


def left_text(run: RunState) -> str:
    """Return how many experts and neurons a run has left; empty: as many as ever."""
    parts = (
        (
            experts_left(run.layers),
            tr("{most} of {n} experts per block are left"),
            tr("{least} to {most} of {n} experts per block are left"),
        ),
        (
            neurons_left(run.layers),
            tr("{most} of {n} neurons per expert are left"),
            tr("{least} to {most} of {n} neurons per expert are left"),
        ),
    )
    return ", ".join(
        (text if left.least == left.most else range_text).format(
            least=left.least, most=left.most, n=left.of
        )
        for left, text, range_text in parts
        if left is not None and left.least < left.of
    )


def cells_of(routings: Routings, measure: ExpertMeasure) -> list[Cell]:
    """Return a cell for each expert of each block."""
    values = {each.block: _values(each.routing, measure) for each in routings}
    shade = _shade_of(values, measure)
    cells = []
    for each in routings:
        kept = set(each.routing.kept)
        for expert, value in enumerate(values[each.block]):
            cells.append(
                Cell(
                    str(each.block),
                    expert,
                    shade(value),
                    _label(value, measure),
                    _tip(each, expert, is_removed=expert not in kept),
                    each.layer,
                    expert not in kept,
                )
            )
    return cells


def scale_of(routings: Routings, measure: ExpertMeasure) -> tuple[str, str]:
    """Return the labels of the lower and the upper end of the scale."""
    found = [x for each in routings for x in _values(each.routing, measure)]
    if measure is ExpertMeasure.COST:
        found = [x for x in found if x > 0]
    if not found:
        return "0", "0"
    low = min(found) if measure is ExpertMeasure.COST else 0.0
    return _label(low, measure), _label(max(found), measure)


def _values(routing: Routing, measure: ExpertMeasure) -> tuple[float, ...]:
    if measure is ExpertMeasure.COST:
        return routing.costs
    total = max(1, sum(routing.tokens))
    return tuple(tokens / total for tokens in routing.tokens)


def _shade_of(
    values: Mapping[int, tuple[float, ...]], measure: ExpertMeasure
) -> Callable[[float], float]:
    """Return the function from a value to its shade, from 0 to 1."""
    found = [x for of_block in values.values() for x in of_block if x > 0]
    low, high = min(found, default=1.0), max(found, default=1.0)

    def shade(value: float) -> float:
        if value <= 0:
            return 0.0
        if measure is ExpertMeasure.TOKENS:
            return value / high
        return math.log(value / low) / math.log(high / low) if high > low else 1.0

    return shade


def _label(value: float, measure: ExpertMeasure) -> str:
    if measure is ExpertMeasure.TOKENS:
        return numbers.percent(value)
    return numbers.significant(value, 2)


def _tip(each: BlockRouting, expert: int, *, is_removed: bool) -> str:
    tokens = each.routing.tokens
    share = _values(each.routing, ExpertMeasure.TOKENS)[expert] if tokens else 0.0
    tip = tr(
        "Expert {n} of block {block}\nCost of its removal: {cost}\nTokens: {tokens} "
        "({share})"
    ).format(
        n=expert,
        block=each.block,
        cost=numbers.significant(each.routing.costs[expert], 3),
        tokens=numbers.whole(tokens[expert]),
        share=numbers.percent(share),
    )
    return "\n".join((tip, tr("Removed"))) if is_removed else tip
