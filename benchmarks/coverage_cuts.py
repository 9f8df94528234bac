"""Check which parameters belong to a head or neuron, by the logits without them.

Zeros for what reads it and zeros for what computes it must have the same effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from benchmarks.small_models import logits
from surgeon_engine.api.config.pruning import Coupling, Structure
from surgeon_engine.model.coupled_groups import CoupledGroups, OwnParameter
from surgeon_engine.model.coupling import coupled_groups, groups_of

RELATIVE = 1e-4  # tolerance, relative to the largest logit


def wrong_cuts(model: PreTrainedModel, structure: Structure) -> Iterator[str]:
    """Yield the modules whose columns and rows do not belong together."""
    for coupled in coupled_groups(structure, model):
        size = coupled.consumer.columns // coupled.groups
        for group in (0, coupled.groups - 1):
            columns = slice(group * size, (group + 1) * size)
            parts = [(coupled.consumer, (slice(None), columns))]
            without_columns = logits_without(model, parts)
            parts = [(p.layer, p.group_of_row == group) for p in coupled.producers]
            if _differ(without_columns, logits_without(model, parts)):
                yield f"group {group} of {coupled.path}"


def wrong_cuts_of_experts(model: PreTrainedModel) -> Iterator[str]:
    """Yield the experts whose last weights and others do not belong together."""
    for coupled in groups_of(Coupling.EXPERT_NEURONS, model):
        last, *others = coupled.parameters
        for group in (0, coupled.groups - 1):
            without_last = _without_neuron(model, coupled, [last], group)
            without_others = _without_neuron(model, coupled, others, group)
            if _differ(without_last, without_others):
                yield f"neuron {group} of {coupled.path}"


def logits_without(model: PreTrainedModel, parts: list[Any]) -> torch.Tensor:
    """Return the logits with zeros for parts of some layers."""
    kept = [(layer, layer.weight()) for layer, _ in parts]
    for layer, part in parts:
        W = layer.weight()
        W[part] = 0
        layer.write(W)
    found = logits(model)
    for layer, W in kept:
        layer.write(W)
    return found


def _differ(found: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((found - other).abs().max() > RELATIVE * found.abs().max())


@torch.no_grad()
def _without_neuron(
    model: PreTrainedModel,
    coupled: CoupledGroups,
    parameters: Sequence[OwnParameter],
    group: int,
) -> torch.Tensor:
    """Return the logits with zeros for a neuron of each expert in some parameters."""
    names = [f"{coupled.block_path}.{x.name}" for x in parameters]
    tensors = [model.get_parameter(name) for name in names]
    kept = [tensor.clone() for tensor in tensors]
    for each, tensor in zip(parameters, tensors, strict=True):
        entries = (each.group_of_entry == group).nonzero().squeeze(1)
        tensor.index_fill_(each.dimension, entries, 0)
    found = logits(model)
    for before, tensor in zip(kept, tensors, strict=True):
        tensor.copy_(before)
    return found
