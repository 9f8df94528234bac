"""Features that are dead after rows and columns have been removed."""

import pytest
import torch
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

from surgeon_engine.compaction.dead_features import compact_parts, shared_inputs
from surgeon_engine.compaction.plan import CompactionPlan, KeptPart
from surgeon_engine.model.layers import prunable_layers
from tests.helpers.pruned_models import compact_model
from tests.helpers.tiny_models import VOCABULARY, llama_with, tiny_model


def kept(count: int, *removed: int) -> torch.Tensor:
    indices = [i for i in range(count) if i not in removed]
    return torch.tensor(indices, dtype=torch.int64)


def without(model, rows=None, columns=None) -> CompactionPlan:
    """Zero rows and columns of layers, by block and kind; return the plan."""
    rows, columns = rows or {}, columns or {}
    parts = []
    for layer in prunable_layers(model):
        key = (layer.block, layer.kind)
        row, column = rows.get(key, ()), columns.get(key, ())
        if not row and not column:
            continue
        W = layer.weight()
        W[list(row)] = 0
        W[:, list(column)] = 0
        layer.write(W)
        parts.append(
            KeptPart(layer, kept(layer.rows, *row), kept(layer.columns, *column))
        )
    return CompactionPlan(layers=tuple(parts))


def by_kind(plan, model, block: int = 0):
    return {
        part.layer.kind: part
        for part in compact_parts(plan, model)
        if part.layer.block == block
    }


def assert_same_logits(model, plan) -> None:
    ids = torch.arange(1, 41).view(2, -1) % VOCABULARY
    small = compact_model(model, plan)
    with torch.no_grad():
        expected = model(ids).logits
        difference = (small(ids).logits - expected).abs().max()
    assert difference <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ({"mlp.gate_proj": (3, 5)}, {}),
        ({"mlp.up_proj": (3, 5)}, {}),
        ({}, {"mlp.down_proj": (3, 5)}),
        ({"mlp.gate_proj": (3,), "mlp.up_proj": (5,)}, {"mlp.down_proj": (3,)}),
    ],
    ids=["gate", "up", "down", "each"],
)
def test_dead_neuron_is_removed_from_all_layers_without_index_lists(rows, columns):
    model = tiny_model("llama")
    plan = without(
        model,
        {(0, kind): removed for kind, removed in rows.items()},
        {(0, kind): removed for kind, removed in columns.items()},
    )
    parts = by_kind(plan, model)
    assert set(parts) == {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
    for part in parts.values():
        assert not part.gathers
        assert part.scatters_to == 0
        neurons = part.columns if part.layer.kind == "mlp.down_proj" else part.rows
        assert neurons.tolist() == kept(24, 3, 5).tolist()
    assert_same_logits(model, plan)


def test_activation_not_zero_at_zero_removes_only_the_row():
    model = llama_with(hidden_act="sigmoid")
    plan = without(model, {(0, "mlp.gate_proj"): (3,)})
    parts = by_kind(plan, model)
    assert set(parts) == {"mlp.gate_proj"}
    assert parts["mlp.gate_proj"].scatters_to == 24
    assert_same_logits(model, plan)


def test_bias_is_removed_with_its_row():
    model = tiny_model("opt")
    plan = without(model, {(0, "fc1"): (0, 7)}, {(0, "fc2"): (1,)})
    parts = by_kind(plan, model)
    assert parts["fc1"].rows.tolist() == kept(24, 0, 1, 7).tolist()
    assert parts["fc2"].columns.tolist() == kept(24, 0, 1, 7).tolist()
    assert_same_logits(model, plan)


def test_unread_values_and_outputs_without_value_are_removed():
    """Two query heads of 4 read one value head: columns 1 and 5 read value 1."""
    model = tiny_model("llama")
    plan = without(
        model,
        {(0, "self_attn.v_proj"): (2,)},
        {(0, "self_attn.o_proj"): (1, 5)},
    )
    parts = by_kind(plan, model)
    assert parts["self_attn.v_proj"].rows.tolist() == kept(8, 1, 2).tolist()
    assert parts["self_attn.v_proj"].scatters_to == 8
    assert parts["self_attn.o_proj"].columns.tolist() == kept(16, 1, 5, 2, 6).tolist()
    assert_same_logits(model, plan)


def test_value_read_by_one_head_is_kept():
    model = tiny_model("llama")
    plan = without(model, columns={(0, "self_attn.o_proj"): (1,)})
    assert set(by_kind(plan, model)) == {"self_attn.o_proj"}
    assert_same_logits(model, plan)


def test_value_that_enters_a_norm_is_kept():
    """The norm divides the other values by it, although no output reads it."""
    torch.manual_seed(0)
    model = Gemma4ForCausalLM(
        Gemma4TextConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=4,
            global_head_dim=4,
            num_global_key_value_heads=2,
            hidden_size_per_layer_input=0,
            num_kv_shared_layers=0,
            layer_types=["sliding_attention", "full_attention"],
        )
    ).eval()
    model.requires_grad_(False)
    assert not list(model.model.layers[0].self_attn.v_norm.parameters())
    plan = without(model, columns={(0, "self_attn.o_proj"): (1, 5)})
    assert set(by_kind(plan, model)) == {"self_attn.o_proj"}
    assert_same_logits(model, plan)


@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
def test_inputs_shared_by_all_layers_are_gathered_once(family):
    model = tiny_model(family)
    removed = (0, 9)
    kinds = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    plan = without(model, columns={(1, kind): removed for kind in kinds})
    parts = compact_parts(plan, model)
    shared = shared_inputs(parts, model)
    assert {name: x.tolist() for name, x in shared.items()} == {
        "model.layers.1.self_attn": kept(16, *removed).tolist()
    }
    assert not any(part.gathers for part in parts)
    assert_same_logits(model, plan)


def test_different_inputs_are_not_shared():
    model = tiny_model("llama")
    plan = without(
        model,
        columns={(1, "mlp.gate_proj"): (0, 9), (1, "mlp.up_proj"): (0, 8)},
    )
    parts = compact_parts(plan, model)
    assert shared_inputs(parts, model) == {}
    assert all(part.gathers for part in parts)
    assert_same_logits(model, plan)


def test_mlp_without_outputs_computes_zeros():
    model = tiny_model("llama")
    plan = without(model, columns={(0, "mlp.down_proj"): tuple(range(23))})
    parts = by_kind(plan, model)
    assert len(parts["mlp.up_proj"].rows) == 1
    assert_same_logits(model, plan)
    plan = without(model, rows={(0, "mlp.down_proj"): tuple(range(16))})
    parts = by_kind(plan, model)
    assert parts["mlp.down_proj"].spec["weight"] == [0, 0]
    assert parts["mlp.gate_proj"].spec["weight"][0] == 0
    assert_same_logits(model, plan)
