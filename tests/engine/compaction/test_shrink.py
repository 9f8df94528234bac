"""A compact model computes the logits of the masked model."""

import copy
import weakref

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.compaction.plan import CompactionPlan, KeptGroups, KeptPart
from surgeon_engine.compaction.shrink import compact, shrink_in_place, stock_config
from surgeon_engine.model.coupling import coupled_groups
from surgeon_engine.model.decoding import with_cache
from surgeon_engine.model.layers import prunable_layers
from tests.helpers.configs import DENSE_COUPLED
from tests.helpers.pairs import others_later, pairs
from tests.helpers.pruned_models import (
    assert_close,
    compact_model,
    logits,
    masked,
    tokens,
)
from tests.helpers.tiny_models import EVERY_FAMILY, HYBRIDS, REPRESENTATIVES, tiny_model

STRUCTURES = (
    *DENSE_COUPLED,
    Structure.ROWS_AND_COLUMNS,
    Structure.ROWS,
    Structure.COLUMNS,
)


def parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "structure"),
    others_later(pairs(EVERY_FAMILY, STRUCTURES), REPRESENTATIVES),
)
def test_compact_model_computes_the_same(family, structure):
    model, plan = masked(family, structure)
    small = compact_model(model, plan)
    assert parameters(small) < parameters(model)
    ids = tokens(3)
    expected = logits(model, ids)
    assert_close(logits(small, ids), expected)
    assert_close(logits(small, ids, DynamicCache(config=small.config)), expected)
    # Shorter texts are padded on their left.
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    padded = {"attention_mask": mask, "use_cache": False}
    with torch.no_grad():
        ours, theirs = small(ids, **padded).logits, model(ids, **padded).logits
        assert_close(ours[mask.bool()], theirs[mask.bool()])


@pytest.mark.parametrize("family", HYBRIDS)
def test_compact_hybrid_computes_the_same(family):
    test_compact_model_computes_the_same(family, Structure.HEADS)


@pytest.mark.parametrize(
    "family", ["qwen3_5", "qwen3_next", "olmo_hybrid", "zamba2", "nemotron_h"]
)
def test_model_without_a_mixer_with_a_state_computes_the_same(family):
    model = tiny_model(family)
    coupled = coupled_groups(Structure.HEADS, model)[0]
    coupled.consumer.write(torch.zeros_like(coupled.consumer.weight()))
    nothing = torch.zeros(0, dtype=torch.int64)
    small = compact_model(model, CompactionPlan((KeptGroups(coupled, nothing),)))
    ids = tokens(2)
    with torch.no_grad():
        assert_close(small(ids).logits, model(ids).logits)
        cache = with_cache(small)
        parts = [small(part, **cache).logits for part in ids.split(12, dim=1)]
        assert_close(torch.cat(parts, dim=1), model(ids).logits)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "nemotron_h"])
def test_shrinking_draws_no_random_numbers(family):
    model, plan = masked(family, Structure.HEADS_AND_NEURONS)
    before = torch.get_rng_state()
    shrink_in_place(model, plan)
    assert torch.equal(torch.get_rng_state(), before)


def test_shrink_in_place_copies_only_smaller_tensors():
    model, plan = masked("stablelm_head_norms", Structure.HEADS_AND_NEURONS)
    ids = tokens(2)
    expected = logits(model, ids)
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
    assert_close(logits(model, ids), expected)


def test_own_parameters_of_kept_groups_stay():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.mlp.suv_up = torch.nn.Parameter(torch.arange(24.0))
    coupled = coupled_groups(Structure.NEURONS, model)[1]
    kept = torch.tensor([3, 7, 20])
    plan = CompactionPlan((KeptGroups(coupled, kept),))
    small = compact(model, plan)
    name = "model.layers.1.mlp.suv_up"
    assert small.tensors[name].tensor().tolist() == kept.tolist()
    (spec,) = small.config["pruned"]["groups"]
    assert spec["parameters"] == {"mlp.suv_up": 0}


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


def test_convolution_states_its_channels():
    model = tiny_model("qwen3_5")
    coupled = coupled_groups(Structure.HEADS, model)[0]
    plan = CompactionPlan((KeptGroups(coupled, torch.tensor([1])),))
    conv = compact_model(model, plan).model.layers[0].linear_attn.conv1d
    channels = 2 * 6 + 2 * 4  # queries and keys, and two value heads
    assert conv.weight.shape == (channels, 1, 4)
    assert conv.in_channels == conv.out_channels == conv.groups == channels


def test_layers_of_latent_attention_gather_their_own_inputs():
    model = tiny_model("youtu")
    columns = torch.tensor([0, 1, 2, 4, 5, 6, 7, 9])  # 8 of 10 latent features
    parts = []
    for layer in prunable_layers(model):
        if layer.kind.endswith("_b_proj"):
            W = layer.weight()
            W[:, [3, 8]] = 0
            layer.write(W)
            parts.append(KeptPart(layer, torch.arange(layer.rows), columns))
    small = compact_model(model, CompactionPlan(layers=tuple(parts)))
    ids = tokens(2)
    with torch.no_grad():
        assert_close(small(ids).logits, model(ids).logits)


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


# As in files of Llama 3.2, Gemma 3, Phi 2, Phi 4 mini and Pythia.
FORMER_ROPE = {
    "llama": {
        "rope_theta": 5e5,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "gemma3_text": {
        "rope_theta": 1e6,
        "rope_local_base_freq": 2e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "phi": {"rope_theta": 1e4, "partial_rotary_factor": 0.4},
    "phi3": {
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {
            "type": "longrope",
            "long_factor": [1.5] * 6,
            "short_factor": [1.0] * 6,
        },
    },
    "gpt_neox": {"rotary_emb_base": 2e4, "rotary_pct": 0.5},
}


@pytest.mark.parametrize("kind", FORMER_ROPE)
def test_config_has_settings_of_positions_as_in_transformers_4(kind):
    former = FORMER_ROPE[kind]
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"vocab_size": 8, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **sizes, **copy.deepcopy(former))
    with torch.device("meta"):
        values = stock_config(AutoModelForCausalLM.from_config(config))
    assert {name: values.get(name) for name in former} == former
    again = AutoConfig.for_model(**values)
    assert again.rope_parameters == config.rope_parameters
