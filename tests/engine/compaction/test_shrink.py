"""A compact model computes the logits of the masked model."""

from __future__ import annotations

import copy
import inspect
import weakref

import pytest
import torch
from transformers import DynamicCache

from surgeon_engine.api.config.pruning import COUPLED, Structure
from surgeon_engine.base.errors import ModelError
from surgeon_engine.compaction.plan import (
    CompactionPlan,
    KeptPart,
    plan_of,
)
from surgeon_engine.compaction.shrink import compact, compact_model, shrink_in_place, stock_config
from surgeon_engine.model.coupling import structure_support
from surgeon_engine.model.layers import prunable_layers
from surgeon_engine.pruning.structures.units import units_of
from tests.helpers.configs import pruning_config
from tests.helpers.pairs import pairs
from tests.helpers.tiny_models import FAMILIES, MORE_FAMILIES, VOCABULARY, tiny_model

STRUCTURES = (*COUPLED, Structure.ROWS_AND_COLUMNS, Structure.ROWS, Structure.COLUMNS)
RELATIVE = 1e-4  # of the largest logit
LENGTH = 24


def masked(family: str, structure: Structure, seed: int = 0, share: float = 0.4):
    """Return a model without a random share of each unit, and its plan."""
    model = tiny_model(family, seed)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms: each head's is another
            parameter.add_(torch.rand_like(parameter))
    reasons = {s.structure: s.reason for s in structure_support(model)}
    if reasons[structure]:
        pytest.skip(reasons[structure])
    draw = torch.Generator().manual_seed(seed)
    removed = {}
    units = units_of(pruning_config(structure=structure), model)
    for unit in units:
        is_removed = torch.rand(unit.candidates, generator=draw) < share
        if structure in (Structure.ROWS, Structure.COLUMNS):
            rows = unit.measured.rows
            is_row = torch.arange(unit.candidates) < rows
            is_removed &= is_row if structure is Structure.ROWS else ~is_row
        is_removed[0] = False  # something is kept, and something removed
        is_removed[-1] |= structure in COUPLED
        removed[unit.measured.name] = is_removed
        for layer, zeros in unit.zeros(is_removed):
            layer.write(layer.weight().masked_fill(zeros, 0))
    return model, plan_of(units, removed)


def parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def tokens(batch: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(1, VOCABULARY, (batch, LENGTH), generator=draw)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    largest = float(theirs.abs().max())
    assert float((ours - theirs).abs().max()) <= RELATIVE * largest


def cache_name(model) -> str:
    """Return the name of the argument, which transformers 5 has changed."""
    arguments = inspect.signature(type(model).__mro__[1].forward).parameters
    return "cache" if "cache" in arguments else "past_key_values"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "structure"), pairs([*FAMILIES, *MORE_FAMILIES], STRUCTURES)
)
def test_compact_model_computes_the_same(family, structure):
    model, plan = masked(family, structure)
    small = compact_model(model, plan)
    assert parameters(small) < parameters(model)
    ids = tokens(3)
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


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_shrinking_draws_no_random_numbers(family):
    model, plan = masked(family, Structure.HEADS_AND_NEURONS)
    before = torch.get_rng_state()
    shrink_in_place(model, plan)
    assert torch.equal(torch.get_rng_state(), before)


def test_shrink_in_place_copies_only_smaller_tensors():
    model, plan = masked("stablelm_head_norms", Structure.HEADS_AND_NEURONS)
    ids = tokens(2)
    with torch.no_grad():
        expected = model(ids).logits
    kept = {
        name: parameter.data_ptr()
        for name, parameter in model.named_parameters()
        if "_proj" not in name and "layernorm.norms" not in name
    }
    cut = [each.coupled.consumer.module for each in plan.groups]
    old = [weakref.ref(layer.weight) for layer in cut]
    shrink_in_place(model, plan)
    assert [weight() for weight in old] == [None] * len(old)  # the plan holds none
    now = dict(model.named_parameters())
    assert kept == {name: now[name].data_ptr() for name in kept}
    with torch.no_grad():
        assert_close(model(ids).logits, expected)


def shared_gather():
    """Return a model whose first attention reads some inputs, and its plan."""
    model = tiny_model("llama")
    columns = torch.tensor([i for i in range(16) if i not in (2, 9)])
    parts = []
    for layer in prunable_layers(model):
        if layer.block == 0 and layer.kind[-6:] in ("q_proj", "k_proj", "v_proj"):
            W = layer.weight()
            W[:, [2, 9]] = 0
            layer.write(W)
            parts.append(KeptPart(layer, torch.arange(layer.rows), columns))
    return model, CompactionPlan(layers=tuple(parts))


COPIED = {
    "phi3": lambda: masked("phi3", Structure.HEADS),
    "bloom": lambda: masked("bloom", Structure.HEADS),
    "shared gather": shared_gather,
}


@pytest.mark.parametrize("make", COPIED.values(), ids=COPIED)
def test_deep_copy_is_independent_of_original(make):
    model, plan = make()
    small = compact_model(model, plan)
    twin = copy.deepcopy(small)
    ids = tokens(2)
    with torch.no_grad():
        expected = small(ids).logits
        for tensor in (*small.parameters(), *small.buffers()):
            tensor.zero_()
        for module in small.modules():
            if type(vars(module).get("config")).__name__ == "_OwnConfig":
                module.config._widths.clear()
        assert torch.equal(twin(ids).logits, expected)
        changed = copy.deepcopy(twin)
        for name, indices in changed.named_buffers():
            if "kept_" in name:
                indices.copy_(indices.flip(0))
        is_gathered = any("kept_" in name for name, _ in changed.named_buffers())
        same = torch.equal(changed(ids).logits, expected)
        assert same != is_gathered
        assert changed.double()(ids).logits.dtype is torch.float64


def test_entries_for_single_layers_stay_in_the_config():
    model, plan = masked("llama", Structure.NEURONS)
    model.config.per_layer_config = {0: {"rms_norm_eps": 1e-4}}
    kept = {name: x["rms_norm_eps"] for name, x in stock_entries(model).items()}
    found = compact(model, plan).config["per_layer_config"]
    assert {name: x["rms_norm_eps"] for name, x in found.items()} == kept


def stock_entries(model) -> dict:
    return stock_config(model)["per_layer_config"]
