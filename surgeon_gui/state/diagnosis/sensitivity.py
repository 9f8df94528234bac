"""Sensitivity of each part of a model: the cost of removing its cheapest share."""

from __future__ import annotations

import math

import numpy as np

from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_gui.base.translation import tr
from surgeon_gui.state.diagnosis.costs import Bins, Costs, Floats
from surgeon_gui.state.diagnosis.planner import RemovalPlan
from surgeon_gui.text import numbers
from surgeon_gui.text.chart_values import Cell

SHARES = (0.1, 0.3, 0.5)  # removed shares of a part
_MIN_SHOWN = 0.00001  # relative increase of perplexity; below it: "<0.001 %"


def loss_rises(costs: Costs, share: float) -> Floats:
    """Return the loss increase of removing the cheapest `share` of each unit.  U.

    Interpolates within a removal, so that a unit of few large parts has a value too.
    """
    rises = [_rise(costs, number, share) for number in range(len(costs.units))]
    return np.array(rises, dtype=np.float64)


def sensitivity_map(
    costs: Costs, share: float, predicts_loss: bool
) -> tuple[list[Cell], tuple[str, str]]:
    """Return the cells of the sensitivity map, and the labels of its scale.

    The shade of a cell is the log of the increase.
    """
    rises = loss_rises(costs, share)
    positive = rises[rises > 0].tolist()
    low, high = min(positive, default=1.0), max(positive, default=1.0)
    first, span = math.log(low), math.log(high) - math.log(low)

    def label_of(rise: float) -> str:
        return _growth(rise) if predicts_loss else numbers.times(rise / low)

    cells = []
    for unit, rise in zip(costs.units, rises.tolist(), strict=True):
        heat = (math.log(rise) - first) / span if rise > 0 and span else 0.0
        tip = _tip(unit, rise, share, predicts_loss)
        place = map_row(unit), unit.layers[0].block
        cells.append(Cell(*place, heat, label_of(rise), tip, unit.name))
    scale = (label_of(low), label_of(high)) if positive else ("0", "0")
    return cells, scale


def planned_cells(costs: Costs, plan: RemovalPlan) -> list[Cell]:
    """Return the cells of the plan map; the shade is the removed share of a part."""
    cells = []
    for unit, removed in zip(costs.units, plan.weights.tolist(), strict=True):
        weights = prunable_weights(costs, unit)
        share = removed / weights if weights else 0.0
        tip = tr("{name}\nWould lose {share}: {removed} of {weights} weights").format(
            name=unit.name,
            share=numbers.percent(share),
            removed=numbers.count(removed),
            weights=numbers.count(weights),
        )
        label = f"{share * 100:.0f}"
        cells.append(
            Cell(map_row(unit), unit.layers[0].block, share, label, tip, unit.name)
        )
    return cells


def map_row(unit: DiagnosedUnit) -> str:
    """Return the name of the map row of a unit."""
    match unit.group:
        case "heads":
            return tr("heads")
        case "neurons":
            return tr("neurons")
        case "experts":
            return tr("experts")
    return unit.layers[0].kind


def prunable_weights(costs: Costs, unit: DiagnosedUnit) -> int:
    """Return the number of weights of a unit that can be removed."""
    if isinstance(costs.found, Bins):
        return unit.candidates
    if unit.group == "layer":
        return unit.layers[0].weights
    return sum(layer.each for layer in unit.layers) * unit.candidates


def _rise(costs: Costs, number: int, share: float) -> float:
    found, unit = costs.found, costs.units[number]
    target = share * prunable_weights(costs, unit)
    if isinstance(found, Bins):
        so_far = found.so_far[number]
        rise = (np.diff(so_far, prepend=0) * found.cost).cumsum()
    else:
        own = slice(found.start[number], found.start[number + 1])
        so_far, rise = found.weights_so_far[own], found.rise_so_far[own]
    if not len(so_far):
        return 0.0
    ends, rises = np.concatenate([[0], so_far]), np.concatenate([[0.0], rise])
    return float(np.interp(target, ends, rises))


def _growth(rise: float) -> str:
    """Format the relative increase of perplexity for an increase of the loss."""
    growth = math.expm1(min(rise, 50.0))
    if growth <= 0:
        return "0"
    if growth < _MIN_SHOWN:
        return f"<{numbers.percent(_MIN_SHOWN, decimals=3)}"
    if growth >= 10:
        return f"\N{MULTIPLICATION SIGN}{numbers.fixed(min(1 + growth, 1e9), 0)}"
    # Two significant digits: parts differ by orders of magnitude.
    decimals = max(0, 1 - math.floor(math.log10(growth * 100)))
    return numbers.percent(growth, signed=True, decimals=decimals)


def _tip(unit: DiagnosedUnit, rise: float, share: float, predicts_loss: bool) -> str:
    if not predicts_loss:
        return tr("{name}\nCost of its cheapest {share}: {cost}").format(
            name=unit.name,
            share=numbers.percent(share),
            cost=numbers.significant(rise, 3),
        )
    return tr(
        "{name}\nRemoving its cheapest {share} increases the loss by {rise} nats"
    ).format(
        name=unit.name, share=numbers.percent(share), rise=numbers.significant(rise, 3)
    )
