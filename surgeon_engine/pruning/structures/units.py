"""Divide a model into the units of a structure, without protected layers."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from surgeon_engine.api.config.layer_patterns import any_matches, check_patterns
from surgeon_engine.api.config.pruning import (
    BY_LAYER,
    COUPLED,
    Coupling,
    PruningConfig,
    Structure,
)
from surgeon_engine.base.errors import PruningError
from surgeon_engine.model.coupling import coupled_groups
from surgeon_engine.model.layers import PrunableLayer, linear_layers, prunable_layers
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.base import MatrixMethod
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.elements import ElementsUnit
from surgeon_engine.pruning.structures.experts_neurons import ExpertsUnit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.pruning.structures.rows_columns import Kind, RowsOrColumns

_KINDS = {
    Structure.ROWS_AND_COLUMNS: tuple(Kind),
    Structure.ROWS: (Kind.ROW,),
    Structure.COLUMNS: (Kind.COLUMN,),
}


def units_of(pruning: PruningConfig, model: PreTrainedModel) -> tuple[Unit, ...]:
    """Return the units of a model that are not protected.

    Raises:
        PruningError: the model lacks the structure, a pattern matches no layer, or
            everything is protected.
    """
    layers = prunable_layers(model)
    check_patterns(pruning.protect, pruning.layer_min_density, layers)
    units = tuple(
        unit
        for unit in _all_units(pruning, model, layers)
        if not any_matches(unit.layers, pruning.protect)
    )
    if not units:
        raise PruningError(
            "Everything that could be removed is protected.", "Protect less."
        )
    return units


def _all_units(
    pruning: PruningConfig, model: PreTrainedModel, layers: Sequence[PrunableLayer]
) -> tuple[Unit, ...]:
    method = METHODS[pruning.method]
    if pruning.structure in COUPLED:
        groups = coupled_groups(pruning.structure, model)
        inside = {
            x.consumer.name: x for x in groups if x.kind is Coupling.EXPERT_NEURONS
        }
        return tuple(
            CoupledUnit(each, method, each.groups)
            if (neurons := inside.get(each.consumer.name)) is None
            else ExpertsUnit(each, method, each.groups, neurons, neurons.groups)
            for each in groups
            if each.kind is not Coupling.EXPERT_NEURONS
        )
    assert isinstance(method, MatrixMethod)  # by `methods_for`
    layers = linear_layers(layers)
    if pruning.structure in BY_LAYER:
        kinds = _KINDS[pruning.structure]
        return tuple(RowsOrColumns(layer, method, kinds) for layer in layers)
    if (pattern := pruning.n_m) is not None:  # narrower layers have no whole group
        layers = [layer for layer in layers if layer.columns >= pattern.of]
    return tuple(ElementsUnit(layer, method) for layer in layers)
