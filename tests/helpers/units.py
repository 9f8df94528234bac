"""Units of tiny models with random factors."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import COUPLED, SPARSE, PruningConfig, Structure
from surgeon_engine.api.messages.sources import LayerSummary
from surgeon_engine.curvature.measured import GateGradients, KroneckerFactors
from surgeon_engine.planning import limits
from surgeon_engine.pruning.methods.base import Measured, Needs
from surgeon_engine.pruning.structures.experts_neurons import ExpertsUnit
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.pruning.threshold import cheapest
from tests.helpers.configs import pruning_config
from tests.helpers.tiny_models import tiny_model

DAMPING = 0.05


def pruning(structure: Structure, **settings) -> PruningConfig:
    """Return settings with the same damping for costs and update."""
    dampings = {"cost_damping": DAMPING, "update_damping": DAMPING, "damping": "fixed"}
    return pruning_config(structure=structure, **dampings | settings)


def units(family: str, settings: PruningConfig):
    """Return the units of a new tiny model."""
    return units_of(settings, tiny_model(family))


def removable(unit, settings: PruningConfig) -> int:
    """Return the maximum number of removable weights of a unit, from `limits`."""
    share = settings.share_to_keep(unit.layers)
    layer = unit.measured
    if isinstance(unit, ExpertsUnit):
        costs = random_measurement(unit)
        return int(unit.removals(costs, no_removals(unit), settings).weights.sum())
    if settings.structure in COUPLED:
        coupled = unit.coupled
        bundle = limits.bundle_of(coupled.kind, settings, coupled.classes)
        least = coupled.least
        kept = limits.groups_to_keep(unit.originally, share, bundle, least)
        return max(0, unit.originally - kept) * coupled.weights_per_group
    rows, columns = layer.rows, layer.columns
    weights = rows * (columns + layer.has_bias)
    summary = LayerSummary(layer.name, layer.block, "", rows, columns, weights)
    if settings.structure in SPARSE:
        return limits.max_elements(summary, share, settings)
    return limits.max_rows_columns(summary, share, settings.structure)


def random_factors(layer, seed: int = 0) -> KroneckerFactors:
    """Return positive definite A and G in float32, like measured ones."""
    g = torch.Generator().manual_seed(seed)
    width = layer.columns + layer.has_bias
    a = torch.randn(3 * width, width, generator=g)
    dy = torch.randn(3 * layer.rows, layer.rows, generator=g)
    return KroneckerFactors(A=a.T @ a / len(a), G=dy.T @ dy / len(dy))


def random_gates(layer, seed: int = 0) -> GateGradients:
    """Return gate gradients of three windows."""
    g = torch.Generator().manual_seed(seed)
    rows, columns = layer.rows, layer.columns
    return GateGradients(
        tokens=30,
        rows=torch.randn(3, rows, generator=g),
        columns=torch.randn(3, columns, generator=g),
        weight_squares=torch.rand(rows, columns, generator=g),
        neurons=torch.rand(columns, getattr(layer, "neurons", 0), generator=g),
    )


def random_measurement(unit, seed: int = 0) -> Measured:
    """Return random measurements of the kind that the method of a unit needs."""
    if unit.method.needs is Needs.GATES:
        return random_gates(unit.measured, seed)
    return random_factors(unit.measured, seed)


def factors_of(parts) -> dict[str, Measured]:
    """Return different random measurements for each unit, by name."""
    return {
        unit.measured.name: random_measurement(unit, seed)
        for seed, unit in enumerate(parts)
    }


def no_removals(unit) -> Tensor:
    """Return a mask of candidates, none of them removed."""
    return torch.zeros(unit.candidates, dtype=torch.bool)


def removals_of(unit, *candidates: int) -> Tensor:
    """Return a mask of candidates in which these are removed."""
    removed = no_removals(unit)
    removed[list(candidates)] = True
    return removed


def zeroed(parts, choose: Callable[[Any], Tensor]) -> dict[str, Tensor]:
    """Write zeros for the candidates that `choose` selects; return masks by name."""
    removed = {}
    for unit in parts:
        removed[unit.measured.name] = mask = choose(unit)
        for layer, zeros in unit.zeros(mask):
            layer.zero(zeros)
    return removed


def write(unit, updated) -> None:
    """Write the weights of an updated unit to the model."""
    W, removed = updated
    for layer, zeros in unit.zeros(removed):
        is_measured = layer is unit.measured
        layer.write(W if is_measured else layer.weight().masked_fill(zeros, 0))


def selected(parts, settings: PruningConfig, budget: int):
    """Return a selection from units with random measurements, and the measurements."""
    factors = factors_of(parts)
    costs = {
        unit.measured.name: unit.removals(
            factors[unit.measured.name], no_removals(unit), settings
        )
        for unit in parts
    }
    return cheapest(costs, budget), factors


def assert_selection_becomes_zeros(parts, settings: PruningConfig, share: float) -> int:
    """Check that the weights that count as removed are the zeros of the updated model.

    Returns:
        The weights of the share that are not removed.
    """
    budget = int(share * sum(removable(unit, settings) for unit in parts))
    selection, factors = selected(parts, settings, budget)
    zeros = 0
    for unit in parts:
        name = unit.measured.name
        removed = selection.removed[name]
        updated = unit.updated(factors[name], no_removals(unit), removed, settings)
        write(unit, updated)
        for layer, is_removed in unit.zeros(updated[1]):
            assert torch.equal(layer.weight() == 0, is_removed)
            zeros += int(is_removed.sum())
    assert zeros == selection.weights <= budget
    return budget - zeros
