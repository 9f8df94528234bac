"""Only the columns of a group read its rows, in every family.

Without a group's columns of the consumer, the model computes the same as without the
group's rows of the producers; and every row has exactly one owner.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import (
    AfmoeConfig,
    AfmoeForCausalLM,
    DeepseekV32Config,
    DeepseekV32ForCausalLM,
    MegatronBertForCausalLM,
    RobertaPreLayerNormForCausalLM,
)

from benchmarks.coverage_cuts import logits_without
from benchmarks.small_models import logits, without_weights
from surgeon_engine.api.config.pruning import Coupling, Structure
from surgeon_engine.model import families
from surgeon_engine.model.coupling import coupled_groups, structure_support
from surgeon_engine.model.layers import find_blocks, prunable_layers
from surgeon_engine.model.rules import GATED, Order, fused
from tests.helpers.configs import DENSE, DENSE_COUPLED
from tests.helpers.shared_keys import model_with_shared_keys
from tests.helpers.tiny_models import (
    COUPLED_FAMILIES,
    FAMILIES,
    MORE_FAMILIES,
    NEURON_FAMILIES,
    VOCABULARY,
    tiny_model,
)

STRUCTURES = {Coupling.HEADS: Structure.HEADS, Coupling.NEURONS: Structure.NEURONS}
EVERY = FAMILIES | MORE_FAMILIES
COUPLED_EVERY = COUPLED_FAMILIES + tuple(MORE_FAMILIES)
KINDS = (Coupling.HEADS, Coupling.NEURONS)
CASES = [(family, kind) for family in COUPLED_EVERY for kind in KINDS]
CASES += [(family, Coupling.NEURONS) for family in NEURON_FAMILIES]
WITHOUT_SHARED_HEADS = {
    "opt",
    "gpt_neox",
    "gpt2",
    "gpt_neo",
    "gptj",
    "bloom",
    "xglm",
    "falcon_multi_head",
    "youtu",
}
WIDE = {"gpt2", "bloom"}  # their MLPs are four times the hidden size
# Their blocks with heads.
HYBRID_BLOCKS = {
    "gpt_bigcode": [0, 1],
    "nemotron_h": [0, 1],
    "olmo_hybrid": [0],
    "qwen3_next": [0, 1],
    "zamba2": [0, 1, 2],
}
each_group_kind = pytest.mark.parametrize(("family", "kind"), CASES)


def columns_of(coupled, group: int) -> slice:
    size = coupled.consumer.columns // coupled.groups
    return slice(group * size, (group + 1) * size)


def largest_difference(model, coupled, group: int) -> float:
    """Compare the models without the columns and without the rows of a group."""
    without_columns = logits_without(
        model, [(coupled.consumer, (slice(None), columns_of(coupled, group)))]
    )
    without_rows = logits_without(
        model, [(p.layer, p.group_of_row == group) for p in coupled.producers]
    )
    assert (without_columns - logits(model)).abs().max() > 1e-3
    return float((without_columns - without_rows).abs().max())


@each_group_kind
def test_removing_columns_or_rows_of_a_group_gives_the_same_model(family, kind):
    model = tiny_model(family)
    for coupled in coupled_groups(STRUCTURES[kind], model):
        for group in {0, 1, coupled.groups - 1}:
            assert largest_difference(model, coupled, group) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("family", "blocks"), HYBRID_BLOCKS.items())
def test_heads_of_hybrids_are_independent(family, blocks):
    model = tiny_model(family)
    found = coupled_groups(Structure.HEADS, model)
    assert [each.consumer.block for each in found] == blocks
    for coupled in found:
        assert largest_difference(model, coupled, 1) < 1e-5


def test_layers_with_the_weights_of_another_block_stay_whole():
    found = coupled_groups(Structure.HEADS, tiny_model("zamba2"))
    assert {each.module.rpartition(".")[2] for each in found} == {"mamba"}


def test_convolution_with_names_of_a_mixer_is_unknown():
    model = tiny_model("nemotron_h")
    del model.model.layers[0].mixer.dt_bias  # as in Zamba 1
    found = coupled_groups(Structure.HEADS, model)
    assert [each.consumer.block for each in found] == [1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "blocks"),
    [("gemma3n_text", {0}), ("gemma4_text", {0}), ("gemma4_dense", {0, 1, 3, 4})],
)
def test_heads_whose_keys_no_other_block_reads_can_be_removed(family, blocks):
    """Single key and value heads of full attentions stay, too."""
    model = model_with_shared_keys(family)
    found = coupled_groups(Structure.HEADS_AND_NEURONS, model)
    heads = [each for each in found if each.kind is Coupling.HEADS]
    assert {each.consumer.block for each in heads} == blocks
    for coupled in found:
        assert largest_difference(model, coupled, coupled.groups - 1) < 1e-5


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("gpt2", Coupling.HEADS),
        ("phi3", Coupling.HEADS),
        ("phi3", Coupling.NEURONS),
        ("gpt_neox", Coupling.HEADS),
        ("bloom", Coupling.HEADS),
        ("falcon", Coupling.HEADS),
        ("falcon_multi_head", Coupling.HEADS),
    ],
)
def test_wrong_order_of_fused_rows_changes_the_logits(monkeypatch, family, kind):
    other = {Order.BY_PART: Order.BY_GROUP, Order.BY_GROUP: Order.BY_PART}
    model = tiny_model(family)
    known = families.FAMILIES[model.config.model_type]
    name = "attention" if kind is Coupling.HEADS else "mlp"
    rule = getattr(known, name) or fused("down_proj", "gate_up_proj", parts=GATED)
    producers = tuple(replace(x, order=other[x.order]) for x in rule.producers)
    wrong = replace(known, **{name: replace(rule, producers=producers)})
    monkeypatch.setitem(families.FAMILIES, model.config.model_type, wrong)
    coupled = coupled_groups(STRUCTURES[kind], model)[0]
    assert largest_difference(model, coupled, 1) > 1e-3


def test_gate_layer_of_an_attention_belongs_to_its_query_heads():
    config = AfmoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_dense_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
    )
    torch.manual_seed(0)
    model = AfmoeForCausalLM(config).eval().requires_grad_(False)
    for layer in prunable_layers(model):
        layer.module.weight.normal_(std=0.3)
    found = coupled_groups(Structure.HEADS, model)
    assert [each.groups for each in found] == [2, 2]
    assert "self_attn.gate_proj" in [layer.kind for layer in found[0].layers]
    assert largest_difference(model, found[0], 1) < 1e-5


@each_group_kind
def test_groups_divide_the_rows_and_columns_of_every_block(family, kind):
    found = coupled_groups(STRUCTURES[kind], tiny_model(family))
    assert [coupled.consumer.block for coupled in found] == [0, 1]
    assert {coupled.kind for coupled in found} == {kind}
    if kind is Coupling.HEADS:
        expected = 4 if family in WITHOUT_SHARED_HEADS else 2
    else:
        expected = 64 if family in WIDE else 24
    for coupled in found:
        assert coupled.groups == expected
        layer = coupled.consumer
        assert layer.columns % expected == 0
        owned = layer.rows * layer.columns // expected
        for producer in coupled.producers:
            assert producer.group_of_row.dtype is torch.int64
            assert producer.group_of_row.shape == (producer.layer.rows,)
            each = producer.layer.rows // expected
            assert producer.group_of_row.bincount().tolist() == [each] * expected
            owned += each * producer.layer.weight().shape[1]
        assert coupled.weights_per_group == owned


@pytest.mark.parametrize("family", COUPLED_EVERY)
def test_heads_and_neurons_are_in_the_order_of_blocks(family):
    found = coupled_groups(Structure.HEADS_AND_NEURONS, tiny_model(family))
    assert [(c.consumer.block, c.kind) for c in found] == [
        (block, kind) for block in (0, 1) for kind in KINDS
    ]


@pytest.mark.parametrize("family", EVERY)
def test_structure_support_needs_no_weights(family):
    support = structure_support(tiny_model(family))
    assert [item.structure for item in support] == list(DENSE)
    with torch.device("meta"):
        assert structure_support(EVERY[family]()) == support
    unsupported = {item.structure for item in support if not item.supported}
    if family in COUPLED_EVERY:
        assert not unsupported
    else:
        assert unsupported == {Structure.HEADS}


@pytest.mark.parametrize("structure", DENSE_COUPLED)
def test_groups_on_meta_device_match_the_loaded_model(structure):
    with torch.device("meta"):
        found = coupled_groups(structure, FAMILIES["phi3"]())
    for one, other in zip(
        found, coupled_groups(structure, tiny_model("phi3")), strict=True
    ):
        assert one.weights_per_group == other.weights_per_group
        for p, q in zip(one.producers, other.producers, strict=True):
            assert torch.equal(p.group_of_row, q.group_of_row)


def test_own_parameters_belong_to_groups():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.self_attn.sinks = nn.Parameter(torch.ones(4))  # one per query head
        block.self_attn.sqk = nn.Parameter(torch.ones(16))
        block.mlp.suv_up = nn.Parameter(torch.ones(24))
    heads, neurons = coupled_groups(Structure.HEADS_AND_NEURONS, model)[:2]
    assert {x.name: x.group_of_entry.tolist() for x in heads.parameters} == {
        "self_attn.sinks": [0, 0, 1, 1],
        "self_attn.sqk": [0] * 8 + [1] * 8,
    }
    (own,) = neurons.parameters
    assert (own.name, own.group_of_entry.tolist()) == ("mlp.suv_up", list(range(24)))
    layers = {layer.name: layer for layer in heads.layers}
    left = heads.left(torch.tensor([1]), layers)
    assert [x.group_of_entry.tolist() for x in left.parameters] == [[0, 0], [0] * 8]


def test_layers_that_choose_tokens_stay_and_heads_can_go():
    config = DeepseekV32Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        first_k_dense_replace=2,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_nope_head_dim=4,
        qk_rope_head_dim=4,
        v_head_dim=4,
        index_head_dim=8,
        index_n_heads=2,
    )
    with torch.device("meta"):
        model = DeepseekV32ForCausalLM(config)
    (one, other) = coupled_groups(Structure.HEADS, model)
    assert one.groups == other.groups == 4
    assert not [x.name for x in one.layers if "indexer" in x.name]


@pytest.mark.parametrize(
    "kind", [MegatronBertForCausalLM, RobertaPreLayerNormForCausalLM]
)
def test_norm_of_what_an_attention_reads_joins_no_heads(kind):
    config = kind.config_class(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        is_decoder=True,
    )
    with torch.device("meta"):
        model = kind(config)
    assert [each.groups for each in coupled_groups(Structure.HEADS, model)] == [4, 4]


# Classes beside the families of the tests, with the layers that feed a consumer.
PRODUCERS = {
    ("causal", "modernbert-decoder"): (Structure.HEADS, "q_proj k_proj v_proj"),
    ("causal", "moshi"): (
        Structure.HEADS,
        "q_proj.linear k_proj.linear v_proj.linear",
    ),
    ("causal", "openai-gpt"): (Structure.HEADS, "c_attn"),
    ("causal", "prophetnet"): (Structure.NEURONS, "intermediate"),
    ("causal", "reformer"): (Structure.NEURONS, "dense.dense"),
    ("causal", "rwkv"): (Structure.NEURONS, "key"),
    ("causal", "xlm"): (Structure.HEADS, "q_lin k_lin v_lin"),
    ("causal", "xlnet"): (Structure.NEURONS, "layer_1"),
    ("causal", "xlstm"): (Structure.NEURONS, "proj_up_gate proj_up"),
    ("image", "glm4v"): (Structure.NEURONS, "gate_up_proj"),
}


@pytest.mark.parametrize(("kind", "model_type"), PRODUCERS)
def test_rule_names_the_layers_of_a_class(kind, model_type):
    structure, names = PRODUCERS[kind, model_type]
    coupled = coupled_groups(structure, without_weights(kind, model_type))[0]
    prefix = f"{coupled.module}." if coupled.module else ""
    found = [each.layer.kind.removeprefix(prefix) for each in coupled.producers]
    assert found == names.split()


def test_longer_list_inside_a_block_is_not_the_list_of_blocks():
    model = tiny_model("llama")
    experts = nn.ModuleList([nn.Linear(16, 16) for _ in range(8)])
    model.model.layers[0].mlp.experts = experts
    assert find_blocks(model) == tuple(model.model.layers)
