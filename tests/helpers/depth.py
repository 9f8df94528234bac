"""Models without whole attentions, MLPs and blocks."""

from __future__ import annotations

import torch

from surgeon_engine.api.config.pruning import Coupling, Structure
from surgeon_engine.compaction.plan import CompactionPlan, plan_of
from surgeon_engine.pruning.structures.units import units_of
from tests.helpers.configs import pruning_config

# What is removed as a whole, by block; "block" stands for both.
CASES = {
    "first attention": {0: "heads"},
    "last attention": {-1: "heads"},
    "first MLP": {0: "neurons"},
    "last MLP": {-1: "neurons"},
    "first block": {0: "block"},
    "last block": {-1: "block"},
}


def without_depth(model, parts: dict[int, str], widths: bool = False) -> CompactionPlan:
    """Write zeros for what is removed of a model, and return the plan.

    Args:
        model: changed in place.
        parts: "heads", "neurons" or "block" by block, which may count from the end.
        widths: remove the last group of all other units, too.
    """
    units = units_of(pruning_config(structure=Structure.HEADS_AND_NEURONS), model)
    blocks = 1 + max(unit.measured.block for unit in units)
    by_block = {block % blocks: part for block, part in parts.items()}
    removed = {}
    for unit in units:
        part = by_block.get(unit.measured.block)
        is_whole = part in ("block", Coupling(unit.coupled.kind).value)
        mask = torch.full((unit.candidates,), is_whole)
        mask[-1] |= widths
        removed[unit.measured.name] = mask
        for layer, zeros in unit.zeros(mask):
            layer.write(layer.weight().masked_fill(zeros, 0))
    return plan_of(units, removed)
