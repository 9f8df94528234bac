"""Between shots, take the removed heads and neurons out of the model.

Later shots then measure and evaluate a smaller model that computes the same. Its groups
are renumbered; `PruningState.kept` holds their original numbers. An attention or MLP
that is removed as a whole keeps one group of zeros, so that the model keeps all of its
layers. At the end the removed parts are put back as zeros, so that every export starts
from a full-size model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.api.config.run import Offload
from surgeon_engine.compaction.plan import (
    CompactionPlan,
    KeptGroups,
    PrunedModel,
    plan_of,
)
from surgeon_engine.compaction.restore import expand_to_full_size
from surgeon_engine.compaction.shrink import shrink_in_place
from surgeon_engine.compaction.slices import has_slopes
from surgeon_engine.model.coupling import groups_of
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.runtime.mapped_tensors import MappedTensors


def compact_state(state: PruningState) -> None:
    """Take the removed groups out of the model, where its architecture allows it."""
    model, plan = state.loaded.model, plan_of(state.units, state.removed)
    if not plan.groups or has_slopes(model):  # which depend on the old index
        return
    groups = (KeptGroups(x.coupled, _at_least_one(x.kept)) for x in plan.groups)
    lost = tuple(x for x in groups if len(x.kept) < x.coupled.groups)
    shrink_in_place(model, CompactionPlan(lost))
    loaded = replace(state.loaded)  # whose layers are smaller
    by_name = {layer.name: layer for layer in loaded.layers}
    units: list[CoupledUnit] = []
    kept: dict[str, Tensor] = {}
    for unit in state.units:
        assert isinstance(unit, CoupledUnit)
        remaining: list[Tensor] = []
        for name, removed in unit.of_parts(state.removed[unit.measured.name]).items():
            left = (~removed).nonzero().squeeze(1)
            kept[name] = state.kept.get(name, torch.arange(len(removed)))[left]
            remaining.append(_at_least_one(left))
        units.append(unit.left(remaining, by_name))
    state.replace_model(loaded, units, kept)


def full_size_model(state: PruningState) -> PrunedModel:
    """Return the model in its original size, with zeros for removed weights.

    It is on the host if parts of it had been taken out; if blocks are offloaded, in
    files.
    """
    if not state.compacted_weights:
        return PrunedModel(state.loaded, plan_of(state.units, state.removed))
    compact_state(state)  # so that all removals are in `state.kept`
    small, kept = state.loaded.model, state.kept
    one_left = {name: _at_least_one(indices) for name, indices in kept.items()}
    in_files = state.config.model.offload is Offload.ON
    model, _ = expand_to_full_size(
        type(small),
        small.config,
        lambda model: _plan(one_left, model),
        small.state_dict().__getitem__,
        small.dtype,
        MappedTensors().zeros if in_files else torch.zeros,
    )
    model.generation_config = small.generation_config
    loaded = replace(state.loaded, model=model)
    return PrunedModel(loaded, _plan(kept, model))


def _plan(kept: Mapping[str, Tensor], model: PreTrainedModel) -> CompactionPlan:
    """Return the groups left of each compacted unit, in the original numbers."""
    groups = tuple(
        KeptGroups(coupled, kept[coupled.name])
        for kind in Coupling
        for coupled in groups_of(kind, model)
        if coupled.name in kept and len(kept[coupled.name]) < coupled.groups
    )
    return CompactionPlan(groups)


def _at_least_one(kept: Tensor) -> Tensor:
    return kept if len(kept) else torch.zeros(1, dtype=torch.int64)
