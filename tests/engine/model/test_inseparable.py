"""Groups that depend on each other, or are unknown, stay whole, with a reason."""

import re

import pytest
import torch
from torch import nn

from surgeon_engine.api.config.pruning import BY_LAYER, SPARSE, Coupling, Structure
from surgeon_engine.api.messages.sources import LeftWhole
from surgeon_engine.base.errors import PruningError
from surgeon_engine.model.coupling import coupled_groups, structure_support
from surgeon_engine.model.families import family_of
from surgeon_engine.model.layers import find_blocks, prunable_layers
from tests.helpers.tiny_models import MIXTURES, tiny_model

STRUCTURES = {Coupling.HEADS: Structure.HEADS, Coupling.NEURONS: Structure.NEURONS}


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("falcon_multi_query", "All 4 query heads .* share one key and value head"),
        ("olmo2", r"self_attn\.q_norm normalizes 16 features .* the 4 of one head"),
    ],
)
def test_inseparable_heads_raise_with_reason_and_stay_whole_beside_neurons(
    family, reason
):
    model = tiny_model(family)
    error = error_for(Structure.HEADS, model)
    assert re.search(reason, error.message)
    assert error.hint == "Choose neurons instead."
    both = coupled_groups(Structure.HEADS_AND_NEURONS, model)
    alone = coupled_groups(Structure.NEURONS, model)
    assert [x.consumer.name for x in both] == [x.consumer.name for x in alone]
    support = {item.structure: item for item in structure_support(model)}
    (left,) = support[Structure.HEADS_AND_NEURONS].left_whole
    assert (left.kind, left.blocks) == (Coupling.HEADS, (0, 1))
    assert left.sentence == error.message
    assert support[Structure.HEADS].left_whole == ()


def error_for(structure: Structure, model) -> PruningError:
    """Return the error, and check that structure_support gives the same reason."""
    with pytest.raises(PruningError) as caught:
        coupled_groups(structure, model)
    reasons = {item.structure: item.reason for item in structure_support(model)}
    assert reasons[structure] == caught.value.message
    assert caught.value.message.endswith(".")
    return caught.value


def test_unknown_layer_makes_its_module_unsupported():
    model = tiny_model("llama")
    for block in find_blocks(model):
        block.self_attn.extra = nn.Linear(16, 16)
    kinds = ", ".join(layer.kind for layer in prunable_layers(model)[:8])
    error = error_for(Structure.HEADS, model)
    assert error.message == (
        "Surgeon does not know the heads of this architecture "
        f"(the layers of its blocks are {kinds})."
    )
    assert error.hint == "Choose neurons instead."
    assert len(coupled_groups(Structure.NEURONS, model)) == 2
    for block in find_blocks(model):
        block.mlp.extra = nn.Linear(16, 16)
    error = error_for(Structure.HEADS_AND_NEURONS, model)
    assert error.message.startswith(
        "Surgeon does not know the heads and neurons of this architecture ("
    )
    assert error.hint.values == {"other": "rows_and_columns"}
    for item in structure_support(model):
        assert item.supported == (item.structure in BY_LAYER + SPARSE)


def test_hint_names_a_structure_that_can_be_removed():
    model = MIXTURES["qwen3_moe"]()
    for block in find_blocks(model):
        block.self_attn.extra = nn.Linear(16, 16)
    error = error_for(Structure.NEURONS, model)
    assert coupled_groups(Structure(error.hint.values["other"]), model)


def test_block_without_known_layers_stays_whole():
    model = tiny_model("llama")
    model.model.layers[0].self_attn.extra = nn.Linear(16, 16)
    model.model.layers[1].mlp.norm = nn.RMSNorm(24)
    found = coupled_groups(Structure.HEADS_AND_NEURONS, model)
    kinds = [(each.consumer.block, each.kind) for each in found]
    assert kinds == [(0, Coupling.NEURONS), (1, Coupling.HEADS)]
    support = {item.structure: item for item in structure_support(model)}
    heads = LeftWhole(Coupling.HEADS, (0,))
    neurons = LeftWhole(Coupling.NEURONS, (1,))
    assert support[Structure.HEADS].left_whole == (heads,)
    assert support[Structure.HEADS_AND_NEURONS].left_whole == (heads, neurons)
    assert support[Structure.ROWS].left_whole == ()


def test_fused_rows_of_unknown_family_are_unsupported():
    model = tiny_model("gpt_neox")
    model.config.model_type = "unheard_of"
    assert "attention.query_key_value" in error_for(Structure.HEADS, model).message
    assert coupled_groups(Structure.NEURONS, model)


def test_shape_that_contradicts_the_config_raises_with_numbers():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.self_attn.k_proj = nn.Linear(16, 10)
    message = error_for(Structure.HEADS, model).message
    assert message == (
        "model.layers.0.self_attn.k_proj has 10 rows, but 2 groups of 4 rows have 8."
    )
    model.config.num_attention_heads = 3
    message = error_for(Structure.HEADS, model).message
    assert "cannot be divided into 3 heads with 2 key and value heads" in message


@pytest.mark.parametrize(
    ("path", "shape"),
    [("self_attn", (4,)), ("self_attn", (1, 2)), ("self_attn.q_norm", (4, 6))],
)
def test_heads_with_unknown_parameters_are_unsupported(path, shape):
    model = tiny_model("qwen3")
    name = "scale" if path == "self_attn" else "weight"
    for block in model.model.layers:
        setattr(block.get_submodule(path), name, nn.Parameter(torch.ones(shape)))
    message = error_for(Structure.HEADS, model).message
    count = max(shape[:1], shape[1:] if path == "self_attn" else ())[0]
    assert message.startswith(f"{path}.{name} has parameters for each of {count} heads")
    assert coupled_groups(Structure.NEURONS, model)


@pytest.mark.parametrize("count", [24, 12])  # features of all query, all key heads
def test_unknown_parameters_of_features_make_heads_inseparable(count):
    model = tiny_model("qwen3")
    for block in model.model.layers:
        block.self_attn.scale = nn.Parameter(torch.ones(count))
    message = error_for(Structure.HEADS, model).message
    assert message.startswith(f"self_attn.scale has parameters for each of {count} fea")


def test_norm_without_weights_makes_heads_inseparable():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.self_attn.k_norm = nn.RMSNorm(4, elementwise_affine=False)
    assert coupled_groups(Structure.HEADS, model)
    for block in model.model.layers:
        block.self_attn.sub_norm = nn.RMSNorm(16, elementwise_affine=False)
    message = error_for(Structure.HEADS, model).message
    assert message.startswith("self_attn.sub_norm normalizes 16 features together")


def test_norm_over_all_neurons_makes_them_inseparable():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.mlp.norm = nn.RMSNorm(24)
    assert "normalizes 24 neurons" in error_for(Structure.NEURONS, model).message
    assert len(coupled_groups(Structure.HEADS, model)) == 2


def test_neurons_with_unknown_parameters_are_unsupported():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.mlp.scale = nn.Parameter(torch.ones(24))
    message = error_for(Structure.NEURONS, model).message
    assert message.startswith("mlp.scale has parameters for each of 24 neurons")
    assert coupled_groups(Structure.HEADS, model)


def test_norm_without_weights_makes_neurons_inseparable():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.mlp.sub_norm = nn.RMSNorm(24, elementwise_affine=False)
    message = error_for(Structure.NEURONS, model).message
    assert message.startswith("mlp.sub_norm normalizes all neurons together")


@pytest.mark.parametrize("unsupported", (Coupling.HEADS, Coupling.NEURONS))
def test_groups_that_depend_on_each_other_are_unsupported(unsupported):
    model = tiny_model("llama")
    if unsupported is Coupling.HEADS:
        model.config.model_type = "diffllama"
    else:  # as in Gemma 3n
        for block in model.model.layers:
            block.mlp.activation_sparsity = 0.95
    for kind, structure in STRUCTURES.items():
        if kind is unsupported:
            assert "would change" in error_for(structure, model).message
        else:
            assert coupled_groups(structure, model)


@pytest.mark.parametrize("model_type", ["big_bird", "diffllama", "trocr"])
def test_inseparable_heads_stay_and_neurons_can_go(model_type):
    model = tiny_model("llama")
    model.config.model_type = model_type
    message = error_for(Structure.HEADS, model).message
    assert message == family_of(model_type).inseparable_heads
    assert coupled_groups(Structure.NEURONS, model)


def test_mixer_whose_norm_spans_all_heads_stays_whole():
    model = tiny_model("nemotron_h")
    mixer = model.model.layers[0].mixer
    mixer.norm.group_size = 32  # of both groups
    found = coupled_groups(Structure.HEADS, model)
    assert [each.consumer.block for each in found] == [1]
    model.model.layers[1].mixer.extra = nn.Linear(16, 16)
    message = error_for(Structure.HEADS, model).message
    assert message.startswith("mixer.norm normalizes 32 features together, not the 8")


def test_mixer_with_one_group_stays_whole():
    model = tiny_model("olmo_hybrid")
    model.model.layers[0].linear_attn.num_k_heads = 1
    message = error_for(Structure.HEADS, model).message
    assert message.startswith("All heads of linear_attn are one group")
