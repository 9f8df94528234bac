"""Experts are found by shape, and a removed one is never chosen."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from surgeon_engine.api.config.pruning import Coupling, Structure
from surgeon_engine.api.config.run import ModelConfig, Offload
from surgeon_engine.api.model_info.header import config_facts
from surgeon_engine.compaction.plan import CompactionPlan, KeptGroups
from surgeon_engine.model.coupling import groups_of, structure_support
from surgeon_engine.model.experts import experts_of, hide_removed_experts
from surgeon_engine.model.layers import (
    ExpertsLayer,
    KeptWeights,
    body_parameters,
    prunable_layers,
)
from surgeon_engine.model.load import load_model
from tests.helpers.pruned_models import compact_model, logits
from tests.helpers.tiny_models import MIXTURES, tiny_model


def removed_from(groups, experts):
    """Zero some experts of a block; return the kept ones."""
    mask = torch.zeros(groups.groups, dtype=torch.bool)
    mask[experts] = True
    groups.consumer.zero(groups.consumer.mask_of(mask))
    return KeptGroups(groups, (~mask).nonzero().squeeze(1))


def test_every_weight_of_an_expert_belongs_to_it():
    model = tiny_model("qwen3_moe")
    first = experts_of(model)[0]
    names = {x.name.removeprefix("model.layers.0.mlp.") for x in first.tensors}
    assert names == {"experts.gate_up_proj", "experts.down_proj", "gate.weight"}
    assert first.router == "model.layers.0.mlp.gate"
    config = model.config
    each = 3 * config.moe_intermediate_size * config.hidden_size + config.hidden_size
    (layer, *_) = [x for x in prunable_layers(model) if isinstance(x, ExpertsLayer)]
    assert (layer.rows, layer.columns) == (each, 8)


@pytest.mark.parametrize("family", MIXTURES)
def test_model_without_experts_computes_what_the_masked_one_does(family):
    model = tiny_model(family)
    hide_removed_experts(model)
    whole = logits(model)
    groups = groups_of(Coupling.EXPERTS, model)
    # Each of two groups of experts loses one.
    kept = tuple(removed_from(each, [1, 6]) for each in groups)
    masked = logits(model)
    assert (masked - whole).abs().max() > 1e-3
    found = logits(compact_model(model, CompactionPlan(kept)))
    torch.testing.assert_close(found, masked, atol=1e-5, rtol=0)


def test_removed_expert_is_never_chosen():
    model = tiny_model("deepseek_v3")
    hide_removed_experts(model)
    groups = groups_of(Coupling.EXPERTS, model)[0]
    chosen = []
    groups.consumer.module.register_forward_pre_hook(lambda _, x: chosen.append(x[1]))
    logits(model)
    assert bool((chosen[0] == 6).any())
    removed_from(groups, [1, 6])
    logits(model)
    assert not torch.isin(chosen[1], torch.tensor([1, 6])).any()


def test_tokens_keep_as_many_experts_as_they_have():
    model = tiny_model("qwen3_moe")
    assert {each.least for each in groups_of(Coupling.EXPERTS, model)} == {2}
    with_classes = groups_of(Coupling.EXPERTS, tiny_model("deepseek_v3"))
    assert {(each.classes, each.least) for each in with_classes} == {(2, 4)}


SMALL = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
DENSE = {"num_experts": 8, "mlp_only_layers": [0], "head_dim": 8}
# Its config always states experts.
DENSE_NEMOTRON = {
    "layers_block_type": ["full_attention", "mlp"],
    "num_key_value_heads": 2,
    "head_dim": 8,
}


@pytest.mark.parametrize(
    ("kind", "more"),
    [("llama", {}), ("qwen3_moe", DENSE), ("nemotron_h", DENSE_NEMOTRON)],
)
def test_dense_model_has_no_experts_even_if_its_config_states_them(kind, more):
    config = AutoConfig.for_model(kind, **SMALL, **more)
    support = structure_support(AutoModelForCausalLM.from_config(config))
    assert Structure.EXPERTS not in [each.structure for each in support]
    assert next(x for x in support if x.structure is Structure.NEURONS).supported
    assert not config_facts("dense", config.to_dict()).experts


@pytest.mark.slow
@pytest.mark.parametrize("family", MIXTURES)
def test_mixture_that_is_loaded_block_by_block_has_the_same_weights(family, tmp_path):
    tiny_model(family).save_pretrained(tmp_path)
    expected = load_model(ModelConfig(str(tmp_path))).model
    found = load_model(ModelConfig(str(tmp_path), offload=Offload.ON))
    weights = found.model.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert torch.equal(logits(found.model), logits(expected))
    parameters = found.blocks[-1].parameters()
    assert all(x.untyped_storage().filename for x in parameters)  # in files


def test_weights_that_are_put_back_bring_removed_experts_back():
    model = tiny_model("deepseek_v3")
    for block in model.model.layers[1:]:
        block.mlp.gate.e_score_correction_bias.normal_()  # a buffer
    hide_removed_experts(model)
    whole = logits(model)
    kept = KeptWeights(body_parameters(model))
    for each in groups_of(Coupling.EXPERTS, model):
        removed_from(each, [1, 6])
    assert not torch.equal(logits(model), whole)
    kept.put_back()
    assert torch.equal(logits(model), whole)


def test_odd_number_of_experts_is_found():
    config = AutoConfig.for_model("qwen3_moe", **SMALL, num_experts=7, head_dim=8)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    (groups,) = groups_of(Coupling.EXPERTS, model)
    assert groups.groups == 7
