"""A and G measured block by block equal those of a plain full backward with hooks."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from surgeon_engine.curvature.collect import (
    Measurement,
    batches_to_do,
    block_factors,
)
from surgeon_engine.errors import CurvatureError
from surgeon_engine.model.layers import find_blocks, prunable_layers
from tests.helpers.tiny_models import FAMILIES, VOCABULARY, tiny_model

WINDOWS, LENGTH = 5, 12


def tokens() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(VOCABULARY, (WINDOWS, LENGTH), generator=g)


def measured(model, batch=2, step=lambda: None):
    layers = prunable_layers(model)
    task = Measurement(model, find_blocks(model), layers, tokens(), batch)
    found = {}
    for factors in block_factors(task, step):
        found |= factors
    return found


def full_backward(model):
    """A and G by definition: one graph through the whole model, weights included."""
    inputs, gradients = {}, {}

    def keep(name):
        def hook(_, args, output):
            inputs.setdefault(name, []).append(args[0].detach().flatten(0, -2))
            output.register_hook(
                lambda dy: gradients.setdefault(name, []).append(dy.flatten(0, -2))
            )

        return hook

    layers = prunable_layers(model)
    hooks = [x.module.register_forward_hook(keep(x.name)) for x in layers]
    model.requires_grad_(True)
    for window in tokens().split(1):
        logits = model(window, use_cache=False).logits
        functional.cross_entropy(
            logits[0, :-1], window[0, 1:], reduction="sum"
        ).backward()
    for hook in hooks:
        hook.remove()
    model.requires_grad_(False)

    N = WINDOWS * LENGTH
    result = {}
    for layer in layers:
        a, dy = torch.cat(inputs[layer.name]), torch.cat(gradients[layer.name])
        if layer.has_bias:
            a = torch.cat([a, torch.ones(len(a), 1)], dim=1)
        result[layer.name] = (a.T @ a / N, dy.T @ dy / N)
    return result


@pytest.mark.parametrize("family", FAMILIES)
def test_factors_equal_those_of_a_full_backward(family):
    model = tiny_model(family)
    found, expected = measured(model), full_backward(model)
    assert found.keys() == expected.keys()
    for name, (A, G) in expected.items():
        torch.testing.assert_close(found[name].A, A, rtol=1e-4, atol=1e-6)
        scale = float(G.abs().max())
        torch.testing.assert_close(found[name].G, G, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("batch", [1, 3, 5, 64])
def test_the_size_of_a_batch_does_not_matter(batch):
    model = tiny_model("llama")
    found, expected = measured(model, batch), measured(model, batch=2)
    for name, factors in expected.items():
        torch.testing.assert_close(found[name].G, factors.G)


def test_layers_that_read_the_same_input_share_one_A():
    found = measured(tiny_model("llama"))
    by_kind = {name.split(".", 3)[3]: f for name, f in found.items() if ".0." in name}
    q, k, v = (by_kind[f"self_attn.{x}_proj"].A for x in "qkv")
    assert q is k is v
    assert by_kind["mlp.gate_proj"].A is by_kind["mlp.up_proj"].A
    assert by_kind["mlp.down_proj"].A is not by_kind["mlp.up_proj"].A
    assert by_kind["self_attn.o_proj"].A is not q


def test_steps_are_as_many_as_announced():
    count = 0

    def step():
        nonlocal count
        count += 1

    measured(tiny_model("llama"), batch=2, step=step)
    assert count == batches_to_do(WINDOWS, 2, blocks=2) == 9


def test_measuring_leaves_no_hook_and_no_gradient_behind():
    model = tiny_model("opt")
    before = {name: p.clone() for name, p in model.named_parameters()}
    measured(model)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])


def test_a_non_finite_activation_names_the_layer():
    model = tiny_model("llama")
    model.model.layers[1].mlp.up_proj.weight[3, 4] = torch.nan
    with pytest.raises(CurvatureError, match=r"layers\.1\.\S+ are not finite"):
        measured(model)
