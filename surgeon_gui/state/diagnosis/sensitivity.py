"""How much parts of a model mind: what removing the cheapest of each would cost.

Knows nothing of Qt.
"""

from __future__ import annotations

import math

import numpy as np

from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_gui.base.translation import tr
from surgeon_gui.state.diagnosis.costs import Bins, Costs, Floats
from surgeon_gui.state.diagnosis.planner import Plan
from surgeon_gui.text import numbers
from surgeon_gui.text.chart_values import Cell

SHARES = (0.1, 0.3, 0.5)  # of a part, to choose from
_MIN_SHOWN = 0.00001  # growth of perplexity; what is less is shown as such


def rises_of_first(costs: Costs, share: float) -> Floats:
    """The rise of the loss if the cheapest `share` of each unit went.  U.

    Within a removal in proportion, so that a unit of few large parts has a value too.
    """
    rises = [_rise(costs, number, share) for number in range(len(costs.units))]
    return np.array(rises, dtype=np.float64)


def sensitivity_cells(costs: Costs, share: float, predicts_loss: bool) -> list[Cell]:
    """The map: the darker, the more the loss rises; shades go by orders of size."""
    rises = rises_of_first(costs, share)
    positive = rises[rises > 0]
    low = math.log(positive.min()) if len(positive) else 0.0
    high = math.log(positive.max()) if len(positive) else 1.0
    least = float(positive.min()) if len(positive) else 1.0
    cells = []
    for unit, rise in zip(costs.units, rises.tolist(), strict=True):
        heat = 0.0
        if rise > 0 and high > low:
            heat = (math.log(rise) - low) / (high - low)
        label = _growth(rise) if predicts_loss else numbers.times(rise / least)
        tip = _tip(unit, rise, share, predicts_loss)
        cells.append(
            Cell(row_of(unit), unit.layers[0].block, heat, label, tip, unit.name)
        )
    return cells


def planned_cells(costs: Costs, plan: Plan) -> list[Cell]:
    """The map of what would go: the darker, the more of a part."""
    cells = []
    for unit, gone in zip(costs.units, plan.weights.tolist(), strict=True):
        weights = weights_of(costs, unit)
        share = gone / weights if weights else 0.0
        tip = tr("{name}\n{share} would go: {gone} of {weights} weights").format(
            name=unit.name,
            share=numbers.percent(share),
            gone=numbers.count(gone),
            weights=numbers.count(weights),
        )
        label = f"{share * 100:.0f}"
        cells.append(
            Cell(row_of(unit), unit.layers[0].block, share, label, tip, unit.name)
        )
    return cells


def scale_labels(costs: Costs, share: float, predicts_loss: bool) -> tuple[str, str]:
    """What stands at the lower and the upper end of the map's colours."""
    rises = rises_of_first(costs, share)
    positive = rises[rises > 0]
    if not len(positive):
        return "0", "0"
    low, high = float(positive.min()), float(positive.max())
    if predicts_loss:
        return _growth(low), _growth(high)
    return numbers.times(1), numbers.times(high / low)


def row_of(unit: DiagnosedUnit) -> str:
    """The name of the row of the map in which a unit stands."""
    match unit.group:
        case "heads":
            return tr("heads")
        case "neurons":
            return tr("neurons")
    return unit.layers[0].kind


def weights_of(costs: Costs, unit: DiagnosedUnit) -> int:
    """The weights of a unit that compete with others for staying."""
    if isinstance(costs.found, Bins):
        return unit.candidates
    if unit.group == "layer":
        return unit.layers[0].weights
    return sum(layer.each for layer in unit.layers) * unit.candidates


def _rise(costs: Costs, number: int, share: float) -> float:
    found, unit = costs.found, costs.units[number]
    wanted = share * weights_of(costs, unit)
    if isinstance(found, Bins):
        so_far = found.so_far[number]
        rise = (np.diff(so_far, prepend=0) * found.cost).cumsum()
    else:
        mine = slice(found.start[number], found.start[number + 1])
        so_far, rise = found.weights_so_far[mine], found.rise_so_far[mine]
    if not len(so_far):
        return 0.0
    ends, rises = np.concatenate([[0], so_far]), np.concatenate([[0.0], rise])
    return float(np.interp(wanted, ends, rises))


def _growth(rise: float) -> str:
    """By how much perplexity grows with a rise of the loss."""
    growth = math.expm1(min(rise, 50.0))
    if growth <= 0:
        return "0"
    if growth < _MIN_SHOWN:
        return f"<{numbers.percent(_MIN_SHOWN, decimals=3)}"
    if growth >= 10:
        return f"\N{MULTIPLICATION SIGN}{numbers.fixed(min(1 + growth, 1e9), 0)}"
    # Two figures: parts differ by orders of size.
    decimals = max(0, 1 - math.floor(math.log10(growth * 100)))
    return numbers.percent(growth, signed=True, decimals=decimals)


def _tip(unit: DiagnosedUnit, rise: float, share: float, predicts_loss: bool) -> str:
    if not predicts_loss:
        words = tr("{name}\nCost of its cheapest {share}: {cost}")
        return words.format(
            name=unit.name,
            share=numbers.percent(share),
            cost=numbers.three_figures(rise),
        )
    words = tr("{name}\nWithout its cheapest {share} the loss rises by {rise} nats")
    return words.format(
        name=unit.name, share=numbers.percent(share), rise=numbers.three_figures(rise)
    )
