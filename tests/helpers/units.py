"""Units of tiny models with random factors, and what they do step by step."""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import COUPLED, SPARSE, PruningConfig, Structure
from surgeon_engine.api.planning import limits as bounds
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.pruning.structures.base import share_to_keep
from surgeon_engine.pruning.structures.units import units_of
from tests.helpers.configs import pruning_config
from tests.helpers.tiny_models import tiny_model

DAMPING = 0.05


def pruning(structure: Structure, **settings) -> PruningConfig:
    """Settings with the same damping for costs and update."""
    dampings = {"cost_damping": DAMPING, "update_damping": DAMPING, "damping": "fixed"}
    return pruning_config(structure=structure, **dampings | settings)


def units(family: str, settings: PruningConfig):
    """The units of a new tiny model."""
    return units_of(settings, tiny_model(family))


def removable(unit, settings: PruningConfig) -> int:
    """How many weights of a unit may go, by what is said of whole models."""
    share = share_to_keep(unit.layers, settings)
    layer = unit.measured
    if settings.kind in COUPLED:
        coupled = unit.coupled
        bundle = bounds.bundle_of(coupled.kind, settings)
        stay = bounds.groups_to_keep(unit.originally, share, bundle)
        return max(0, unit.originally - stay) * coupled.weights_per_group
    shape = bounds.Shape(layer.rows, layer.columns, layer.has_bias)
    if settings.kind in SPARSE:
        return bounds.max_elements(shape, share, settings)
    return bounds.max_in_lines(shape, share, settings.kind)


def random_factors(layer, seed: int = 0) -> KroneckerFactors:
    """Positive definite A and G, in float32 as they are measured."""
    g = torch.Generator().manual_seed(seed)
    width = layer.columns + layer.has_bias
    a = torch.randn(3 * width, width, generator=g)
    dy = torch.randn(3 * layer.rows, layer.rows, generator=g)
    return KroneckerFactors(A=a.T @ a / len(a), G=dy.T @ dy / len(dy))


def factors_of(parts) -> dict[str, KroneckerFactors]:
    """Random factors of each unit, by name; no two alike."""
    return {
        unit.measured.name: random_factors(unit.measured, seed)
        for seed, unit in enumerate(parts)
    }


def nothing(unit) -> Tensor:
    """No candidate gone."""
    return torch.zeros(unit.candidates, dtype=torch.bool)


def without(unit, *candidates: int) -> Tensor:
    """These candidates gone."""
    removed = nothing(unit)
    removed[list(candidates)] = True
    return removed


def write(updated) -> None:
    """Make an updated unit the model's weights."""
    for layer, W in updated.weights:
        layer.write(W)
