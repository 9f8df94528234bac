"""Costs, one threshold, and the weights of the model once the cheapest is gone."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from surgeon_engine.config import PruningConfig
from surgeon_engine.pruning.threshold import Elements, Removals, Selection, cheapest
from surgeon_engine.shots.patient import Factors, Patient


def selection(
    patient: Patient, factors: Factors, pruning: PruningConfig, budget: int
) -> Selection:
    """What goes, at most `budget` weights in all.

    Raises:
        CurvatureError: a cost cannot be computed.
        PruningError: that many may not go.
    """
    removals: dict[str, Removals | Elements] = {}
    for unit in patient.units:
        name = unit.measured.name
        removals[name] = unit.removals(factors[name], patient.gone[name], pruning)
    return cheapest(removals, budget)


def remove(
    patient: Patient,
    factors: Factors,
    pruning: PruningConfig,
    removed: dict[str, Tensor],
    step: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Write the weights without `removed`; gives what is gone then, by unit.

    `patient.gone` is left as it is: what is tried may be undone.
    """
    gone: dict[str, Tensor] = {}
    for unit in patient.units:
        name = unit.measured.name
        updated = unit.updated(
            factors[name], patient.gone[name], removed[name], pruning
        )
        for layer, W in updated.weights:
            layer.write(W)
        gone[name] = updated.gone
        step()
    return gone
