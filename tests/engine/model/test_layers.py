"""Decoder blocks, prunable layers, and reading and writing W."""

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from benchmarks.small_models import without_weights
from surgeon_engine.base.errors import ModelError
from surgeon_engine.export.transformers import check
from surgeon_engine.model.layers import (
    KeptWeights,
    body_of,
    body_parameters,
    find_blocks,
    language_model_of,
    prunable_layers,
)
from tests.helpers.tiny_models import FAMILIES, MORE_FAMILIES, tiny_model

FUSED = ("gpt_neox", "gpt2", "phi3", *(x for x in FAMILIES if x.startswith("falcon")))
LAYERS_PER_BLOCK = dict.fromkeys(FAMILIES, 7) | {"opt": 6} | dict.fromkeys(FUSED, 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_layer_of_every_block_is_found(family):
    model = tiny_model(family)
    layers = prunable_layers(model)
    assert len(find_blocks(model)) == 2
    assert len(layers) == 2 * LAYERS_PER_BLOCK[family]
    modules = dict(model.named_modules())
    for layer in layers:
        assert modules[layer.name] is layer.module
        assert "embed" not in layer.name
        assert "lm_head" not in layer.name


def test_layers_of_mamba_are_those_that_it_calls():
    config = MambaConfig(hidden_size=16, num_hidden_layers=2, vocab_size=16)
    model = MambaForCausalLM(config)
    called = set()
    for layer in prunable_layers(model):
        layer.module.register_forward_hook(lambda *_, name=layer.name: called.add(name))
    model(torch.arange(4)[None])
    assert called == {layer.name for layer in prunable_layers(model)} != set()


@pytest.mark.parametrize("family", FAMILIES)
def test_W_maps_inputs_to_outputs(family):
    g = torch.Generator().manual_seed(0)
    for layer in prunable_layers(tiny_model(family)):
        x = torch.randn(3, layer.columns, generator=g)
        a = torch.cat([x, torch.ones(3, 1)], dim=1) if layer.has_bias else x
        W = layer.weight()
        assert W.numel() == layer.weights
        torch.testing.assert_close(a @ W.T, layer.module(x))


@pytest.mark.parametrize("family", FAMILIES)
def test_written_weight_is_read_back(family):
    for layer in prunable_layers(tiny_model(family)):
        W = layer.weight() * 2
        layer.write(W)
        assert torch.equal(layer.weight(), W)


def test_weight_returns_a_copy():
    layer = prunable_layers(tiny_model("llama"))[0]
    layer.weight().zero_()
    assert layer.weight().abs().sum() > 0


@pytest.mark.parametrize("model_type", ["modernbert-decoder", "llama4_text"])
def test_body_has_no_head(model_type):
    model = without_weights("causal", model_type)
    assert body_of(model) is model.model


@pytest.mark.parametrize(
    ("model_type", "path"),
    [("blip-2", "language_model"), ("llama4", "language_model"), ("llava", "")],
)
def test_language_model_is_the_innermost_part_with_a_head(model_type, path):
    model = without_weights("image", model_type)
    assert language_model_of(model) is model.get_submodule(path)
    assert check.language_model(model) is language_model_of(model)


def test_model_without_blocks_raises():
    model = tiny_model("llama")
    del model.model.layers
    with pytest.raises(ModelError, match="no decoder blocks"):
        find_blocks(model)


@pytest.mark.parametrize("family", FAMILIES | MORE_FAMILIES)
def test_body_parameters_are_all_of_the_blocks_but_no_embeddings(family):
    model = tiny_model(family)
    found = {id(p) for p in body_parameters(model)}
    for block in find_blocks(model):
        assert all(id(p) in found for p in block.parameters())
    assert id(model.get_input_embeddings().weight) not in found
    assert id(model.get_output_embeddings().weight) not in found


def test_kept_weights_restore_exactly():
    model = tiny_model("opt")
    before = {name: p.clone() for name, p in model.named_parameters()}
    layers = prunable_layers(model)
    with KeptWeights.of(layers):
        for layer in layers:
            layer.write(layer.weight() / 3)
        assert not torch.equal(
            model.state_dict()[layer.name + ".bias"], before[layer.name + ".bias"]
        )
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_kept_weights_restore_after_an_exception():
    layer = prunable_layers(tiny_model("llama"))[0]
    before = layer.weight()
    with pytest.raises(ZeroDivisionError), KeptWeights.of([layer]):
        layer.write(before * 0)
        raise ZeroDivisionError
    assert torch.equal(layer.weight(), before)


def test_kept_weights_can_be_restored_more_than_once():
    layer = prunable_layers(tiny_model("gpt2"))[0]
    before, kept = layer.weight(), KeptWeights.of([layer])
    for factor in (0, 2):
        layer.write(before * factor)
        kept.put_back()
        assert torch.equal(layer.weight(), before)
