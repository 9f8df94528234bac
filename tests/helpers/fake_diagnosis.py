"""Diagnoses of the fake engine, with a file of costs like a real diagnosis."""

from pathlib import Path

import msgspec
import numpy as np

from surgeon_engine.api.config.pruning import SPARSE, PruningConfig, Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.diagnosis import (
    Diagnosed,
    DiagnosedLayer,
    DiagnosedUnit,
)
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_engine.planning.target_size import prunable_weights
from tests.helpers.mixtures import CHOSEN, routing

GROUPS = 3  # groups of heads per block
_COUPLED = {
    "heads": ("self_attn.o_proj", "self_attn.q_proj", "self_attn.k_proj"),
    "neurons": ("mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"),
    "experts": ("mlp.experts",),
}
_GROUPS_OF = {
    Structure.HEADS_AND_NEURONS: ("heads", "neurons"),
    Structure.HEADS: ("heads",),
    Structure.NEURONS: ("neurons",),
    Structure.EXPERTS: ("experts",),
    Structure.EXPERTS_AND_NEURONS: ("experts",),
}


def diagnosed(config: RunConfig, folder: str, model: ModelSummary) -> Diagnosed:
    """Write a file in which later blocks and heads have higher costs."""
    pruning = config.pruning
    if pruning.structure in _GROUPS_OF:
        parts = [
            _coupled(group, block, model)
            for block in range(model.blocks)
            for group in _GROUPS_OF[pruning.structure]
        ]
    elif pruning.structure in SPARSE:
        parts = [_single_weights(layer) for layer in model.layers]
    else:
        parts = [_rows(layer) for layer in model.layers]
    arrays = {
        name: np.concatenate([arrays[name] for _, arrays in parts])
        for name in parts[0][1]
    }
    path = Path(folder) / "costs.npz"
    np.savez(path, **arrays)
    return Diagnosed(
        path=str(path),
        units=tuple(unit for unit, _ in parts),
        prunable=prunable_weights(pruning, model),
        calibration_tokens=16_384,
        atom=_atom(pruning),
        cost_damping=0.1,
        damping_tried=5,
    )


def _coupled(group: str, block: int, model: ModelSummary):
    layers_by_kind = {
        layer.kind: layer for layer in model.layers if layer.block == block
    }
    consumer, *producers = (layers_by_kind[kind] for kind in _COUPLED[group])
    if group == "heads":
        producers.append(layers_by_kind["self_attn.v_proj"])
    count = GROUPS if group == "heads" else consumer.columns
    layers = tuple(
        _layer(layer, layer.weights // count) for layer in (consumer, *producers)
    )
    weights_per_group = sum(layer.each for layer in layers)
    factor = 1 + block + (4 if group == "heads" else 0)
    is_experts = group == "experts"
    least = CHOSEN if is_experts else 1
    entries = count - least
    cost = factor * 1e-8 * np.linspace(0.1, 3, entries) ** 2
    weights = np.full(entries, weights_per_group, dtype=np.int64)
    unit = DiagnosedUnit(
        consumer.name,
        group,
        layers,
        entries,
        count,
        routing(block) if is_experts else None,
        least,
    )
    return unit, _arrays(cost, weights, np.zeros(entries, dtype=bool))


def _rows(layer: LayerSummary):
    count = layer.rows - 1
    cost = (1 + layer.block) * 1e-8 * np.linspace(0.1, 3, count) ** 2
    weights = np.full(count, layer.columns, dtype=np.int64)
    unit = DiagnosedUnit(
        layer.name, "layer", (_layer(layer),), count, layer.rows + layer.columns
    )
    return unit, _arrays(cost, weights, np.ones(count, dtype=bool))


def _single_weights(layer: LayerSummary):
    bins = np.arange(12_800, 12_864, dtype=np.int32) + 40 * layer.block
    count = np.full(64, layer.weights // 64, dtype=np.int64)
    unit = DiagnosedUnit(layer.name, "layer", (_layer(layer),), 64, layer.weights)
    return unit, {"bin": bins, "count": count}


def _arrays(cost, weights, is_row):
    return {"cost": cost, "weights": weights, "rise": cost * weights, "is_row": is_row}


def _layer(layer: LayerSummary, each: int = 0) -> DiagnosedLayer:
    return DiagnosedLayer(**msgspec.structs.asdict(layer), each=each)


def _atom(pruning: PruningConfig) -> int:
    return pruning.n_m.removed if pruning.n_m is not None else 1
