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


def ones(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape))


def norm(width: int, has_weights: bool = False) -> nn.Module:
    return nn.RMSNorm(width, elementwise_affine=has_weights)


@pytest.mark.parametrize(
    ("module", "name", "addition", "sentence"),
    [
        ("self_attn", "scale", ones(4), "has parameters for each of 4 heads"),
        ("self_attn", "scale", ones(1, 2), "has parameters for each of 2 heads"),
        (
            "self_attn.q_norm",
            "weight",
            ones(4, 6),
            "has parameters for each of 4 heads",
        ),
        ("self_attn", "scale", ones(24), "has parameters for each of 24 features"),
        ("self_attn", "scale", ones(12), "has parameters for each of 12 features"),
        ("self_attn", "sub_norm", norm(24), "normalizes 24 features together"),
        ("mlp", "scale", ones(24), "has parameters for each of 24 neurons"),
        ("mlp", "norm", norm(24, has_weights=True), "normalizes 24 neurons"),
        ("mlp", "sub_norm", norm(24), "normalizes all neurons together"),
    ],
)
def test_addition_that_spans_groups_makes_them_inseparable(
    module, name, addition, sentence
):
    model = tiny_model("qwen3")
    for block in model.model.layers:
        block.self_attn.k_norm = norm(6)  # per head: this separates
        setattr(block.get_submodule(module), name, addition)
    asked, other = Structure.HEADS, Structure.NEURONS
    if module == "mlp":
        asked, other = other, asked
    assert error_for(asked, model).message.startswith(f"{module}.{name} {sentence}")
    assert len(coupled_groups(other, model)) == 2


def test_neurons_that_depend_on_each_other_are_unsupported():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.mlp.activation_sparsity = 0.95  # as in Gemma 3n
    assert "would change" in error_for(Structure.NEURONS, model).message
    assert coupled_groups(Structure.HEADS, model)


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
    mixer.norm.group_size = 32  # spans both groups
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
