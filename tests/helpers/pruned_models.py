"""Tiny models from which something is removed, their plans and their logits."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import COUPLED, Coupling, Structure
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel, plan_of
from surgeon_engine.compaction.shrink import compact, pruned_class
from surgeon_engine.export.base import Writer
from surgeon_engine.export.transformers.files import MaskedWriter
from surgeon_engine.model.coupling import structure_support
from surgeon_engine.model.layers import find_blocks
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.sinks import fuse_sinks
from surgeon_engine.model.source import ModelSource
from surgeon_engine.pruning.structures.units import units_of
from tests.helpers.configs import pruning_config
from tests.helpers.tiny_models import VOCABULARY, tiny_model
from tests.helpers.units import zeroed

LENGTH = 24
TEXT = torch.arange(40).view(2, 20) % VOCABULARY
NOWHERE = ModelSource("Tiny", Path("nowhere"))
RELATIVE = 1e-4  # tolerance, relative to the largest logit
# Parts that are removed as a whole, by block; "block" stands for both.
CASES = {
    "first attention": {0: "heads"},
    "last attention": {-1: "heads"},
    "first MLP": {0: "neurons"},
    "last MLP": {-1: "neurons"},
    "first block": {0: "block"},
    "last block": {-1: "block"},
}


def loaded(model, tokenizer=None, source: ModelSource = NOWHERE) -> LoadedModel:
    """Return a model as the engine loads it."""
    fuse_sinks(model)  # as the engine does
    return LoadedModel(source, model, tokenizer, model.dtype)


def save_checkpoint(
    model: LoadedModel,
    folder: Path,
    plan: CompactionPlan | None = None,
    writer: Writer | None = None,
    **export: Any,
) -> Path:
    """Write a model to a folder, by default whole and masked, and return the folder."""
    folder.mkdir(exist_ok=True)
    pruned = PrunedModel(model, plan or CompactionPlan())
    (writer or MaskedWriter()).write(pruned, ExportConfig(**export), folder)
    return folder


def noisy(family: str):
    """Return a tiny model with random norms and biases."""
    model = tiny_model(family)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.rand_like(parameter))
    return model


def without(
    model,
    choose: Callable[[Any], Tensor],
    structure: Structure = Structure.HEADS_AND_NEURONS,
) -> CompactionPlan:
    """Write zeros for the candidates that `choose` selects, and return the plan."""
    units = units_of(pruning_config(structure=structure), model)
    return plan_of(units, zeroed(units, choose))


def masked(family: str, structure: Structure):
    """Return a model without a random share of each unit, and its plan."""
    model = noisy(family)
    reasons = {s.structure: s.reason for s in structure_support(model)}
    if reasons[structure]:
        pytest.skip(reasons[structure])
    draw = torch.Generator().manual_seed(0)

    def choose(unit) -> Tensor:
        is_removed = torch.rand(unit.candidates, generator=draw) < 0.4
        if structure in (Structure.ROWS, Structure.COLUMNS):
            is_row = torch.arange(unit.candidates) < unit.measured.rows
            is_removed &= is_row if structure is Structure.ROWS else ~is_row
        is_removed[0] = False  # something is kept, and something removed
        is_removed[-1] |= structure in COUPLED
        return is_removed

    return model, without(model, choose, structure)


def without_depth(model, parts: dict[int, str], widths: bool = False) -> CompactionPlan:
    """Write zeros for the removed parts of a model, and return the plan.

    Args:
        model: changed in place.
        parts: "heads", "neurons" or "block" by block, which may count from the end.
        widths: remove the last group of all other units, too.
    """
    blocks = len(find_blocks(model))
    by_block = {block % blocks: part for block, part in parts.items()}

    def choose(unit) -> Tensor:
        part = by_block.get(unit.measured.block)
        is_whole = part in ("block", Coupling(unit.coupled.kind).value)
        mask = torch.full((unit.candidates,), is_whole)
        mask[-1] |= widths
        return mask

    return without(model, choose)


def tokens(batch: int) -> Tensor:
    """Return random texts."""
    draw = torch.Generator().manual_seed(1)
    return torch.randint(1, VOCABULARY, (batch, LENGTH), generator=draw)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Check that logits differ little, compared with the largest."""
    largest = float(theirs.abs().max())
    assert float((ours - theirs).abs().max()) <= RELATIVE * largest


def cache_name(model) -> str:
    """Return the name of the argument, which transformers 5 has changed."""
    arguments = inspect.signature(model.forward).parameters
    return "cache" if "cache" in arguments else "past_key_values"


def logits(model, ids: Tensor = TEXT, cache=None) -> Tensor:
    """Return the logits of a text; with a cache, of its parts one after another."""
    with torch.no_grad():
        if cache is None:
            return model(ids, use_cache=False).logits
        parts = [
            model(part, use_cache=True, **{cache_name(model): cache}).logits
            for part in ids.split([10, 1, LENGTH - 11], dim=1)
        ]
        return torch.cat(parts, dim=1)


def compact_model(model: PreTrainedModel, plan: CompactionPlan) -> PreTrainedModel:
    """Build a compact model in memory, as transformers does from its checkpoint."""
    compacted = compact(model, plan)
    kind = type(model.config)
    config = kind.from_dict(kind._decode_special_floats(compacted.config))
    state = {name: each.tensor() for name, each in compacted.tensors.items()}
    small = pruned_class(type(model)).from_pretrained(
        None, config=config, state_dict=state, dtype=model.dtype
    )
    return small.eval().requires_grad_(False)
