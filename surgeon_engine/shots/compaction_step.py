"""Between shots: what is gone as a whole is taken out of the model itself.

Later shots then measure and evaluate a smaller model, which computes the same. Groups
are counted anew in it; `Patient.kept` remembers which ones they were. In the end the
parts are put back as zeros, so that every form of export starts from the same.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from transformers import PreTrainedModel

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.compaction.plan import KeptGroups, Plan, PrunedModel, plan_of
from surgeon_engine.compaction.restore import expand_to_full_size
from surgeon_engine.compaction.shrink import can_shrink_in_place, shrink_in_place
from surgeon_engine.model.coupling import groups_of
from surgeon_engine.model.layers import find_blocks, prunable_layers
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit


def shrink(state: PruningState) -> None:
    """Take out of the model what can be; the patient then has nothing gone of that."""
    model, plan = state.loaded.model, plan_of(state.units, state.removed)
    if not plan.groups or not can_shrink_in_place(model):
        return
    shrink_in_place(model, plan)
    layers = prunable_layers(model)
    state.loaded = replace(state.loaded, layers=layers)
    by_name = {layer.name: layer for layer in layers}
    units = []
    for unit in state.units:
        assert isinstance(unit, CoupledUnit)
        name = unit.measured.name
        stays = (~state.removed[name]).nonzero().squeeze(1)
        first = state.kept.get(name, torch.arange(unit.candidates))
        state.kept[name] = first[stays]
        coupled = unit.coupled.left(stays, by_name)
        units.append(replace(unit, coupled=coupled))
        state.removed[name] = torch.zeros(len(stays), dtype=torch.bool)
    state.units = tuple(units)


def pruned(state: PruningState) -> PrunedModel:
    """The model in its full size, on the host if parts had been taken out."""
    if not state.cut:
        return PrunedModel(state.loaded, plan_of(state.units, state.removed))
    shrink(state)  # what went since the model was last made smaller
    small = state.loaded.model
    model, plan = expand_to_full_size(
        type(small),
        small.config,
        lambda model: _plan(state, model),
        small.state_dict(),
    )
    model.generation_config = small.generation_config
    loaded = replace(
        state.loaded,
        model=model,
        blocks=find_blocks(model),
        layers=prunable_layers(model),
    )
    return PrunedModel(loaded, plan)


def _plan(state: PruningState, model: PreTrainedModel) -> Plan:
    """What is left of each unit, by the numbers that it had in the beginning."""
    groups = tuple(
        KeptGroups(coupled, state.kept[coupled.consumer.name])
        for kind in Coupling
        for coupled in groups_of(kind, model)
        if len(state.kept.get(coupled.consumer.name, ())) not in (0, coupled.groups)
    )
    return Plan(groups)
