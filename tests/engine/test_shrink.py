"""A compact model computes what the masked one does."""

from __future__ import annotations

import inspect

import pytest
import torch
from transformers import DynamicCache

from surgeon_engine.config import COUPLED, PruningConfig, Structure
from surgeon_engine.export.plan import plan_of
from surgeon_engine.export.shrink import compact_model
from surgeon_engine.model.coupling import structure_support
from surgeon_engine.pruning.structures import units_of
from tests.helpers.tiny_models import FAMILIES, MORE_FAMILIES, VOCABULARY, tiny_model

STRUCTURES = (*COUPLED, Structure.ROWS_AND_COLUMNS, Structure.ROWS, Structure.COLUMNS)
RELATIVE = 1e-4  # of the largest logit
LENGTH = 24


def masked(family: str, structure: Structure, seed: int = 0, share: float = 0.4):
    """A model of which a random share of each unit is gone, and its plan."""
    model = tiny_model(family, seed)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms: each head's is another
            parameter.add_(torch.rand_like(parameter))
    reasons = {s.structure: s.reason for s in structure_support(model)}
    if reasons[structure]:
        pytest.skip(reasons[structure])
    draw = torch.Generator().manual_seed(seed)
    gone = {}
    units = units_of(PruningConfig(structure=structure), model)
    for unit in units:
        is_gone = torch.rand(unit.candidates, generator=draw) < share
        if structure in (Structure.ROWS, Structure.COLUMNS):
            rows = unit.measured.rows
            is_row = torch.arange(unit.candidates) < rows
            is_gone &= is_row if structure is Structure.ROWS else ~is_row
        is_gone[0] = False  # something always stays, and something goes
        is_gone[-1] |= structure in COUPLED
        gone[unit.measured.name] = is_gone
        for layer, zeros in unit.zeros(is_gone):
            layer.write(layer.weight().masked_fill(zeros, 0))
    return model, plan_of(units, gone)


def parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def tokens(batch: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(1, VOCABULARY, (batch, LENGTH), generator=draw)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    largest = float(theirs.abs().max())
    assert float((ours - theirs).abs().max()) <= RELATIVE * largest


def cache_name(model) -> str:
    """What transformers calls the argument; it was renamed in its version 5."""
    arguments = inspect.signature(type(model).__mro__[1].forward).parameters
    return "cache" if "cache" in arguments else "past_key_values"


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("family", FAMILIES | MORE_FAMILIES)
def test_the_compact_model_computes_the_same(family, structure):
    model, plan = masked(family, structure)
    small = compact_model(model, plan)
    assert parameters(small) < parameters(model)
    for batch in (1, 3):
        ids = tokens(batch)
        with torch.no_grad():
            expected = model(ids, use_cache=False).logits
            assert_close(small(ids, use_cache=False).logits, expected)
            # With a cache: the text in three parts.
            cache = DynamicCache(config=small.config)
            parts = [
                small(part, use_cache=True, **{cache_name(small): cache}).logits
                for part in ids.split([10, 1, LENGTH - 11], dim=1)
            ]
            assert_close(torch.cat(parts, dim=1), expected)
            # Shorter texts are padded on their left.
            mask = torch.ones_like(ids)
            mask[0, :7] = 0
            padded = {"attention_mask": mask, "use_cache": False}
            ours, theirs = small(ids, **padded).logits, model(ids, **padded).logits
            assert_close(ours[mask.bool()], theirs[mask.bool()])
