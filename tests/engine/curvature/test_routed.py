"""Measurements of experts equal their definition, token by token."""

import pytest
import torch
from torch.nn import functional
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from surgeon_engine.curvature.collect import (
    CurvatureRequest,
    block_gates,
    routed_outputs,
)
from surgeon_engine.curvature.measured import Gate, RoutedOutputs
from surgeon_engine.model.experts import last_weight
from surgeon_engine.model.layers import ExpertsLayer, find_blocks, prunable_layers
from surgeon_engine.pruning.methods.base import MeasuredLayer
from surgeon_engine.pruning.methods.routing import Reap, RoutingFrequency

VOCABULARY = 40
WINDOWS = torch.randint(VOCABULARY, (3, 10), generator=torch.Generator().manual_seed(0))
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 6,
    "intermediate_size": 8,
    "num_experts_per_tok": 2,
    "pad_token_id": 0,
}
CONFIGS = {
    "qwen3_moe": (
        Qwen3MoeForCausalLM,
        lambda: Qwen3MoeConfig(**_SIZES, num_experts=6, moe_intermediate_size=8),
    ),
    # Transposed, interleaved, with biases.
    "gpt_oss": (
        GptOssForCausalLM,
        lambda: GptOssConfig(**_SIZES, num_local_experts=6),
    ),
    # Each expert gets all tokens.
    "llama4": (
        Llama4ForCausalLM,
        lambda: Llama4TextConfig(
            **_SIZES, num_local_experts=6, intermediate_size_mlp=8
        ),
    ),
}
each_layout = pytest.mark.parametrize("name", CONFIGS)


def mixture(name):
    make, config = CONFIGS[name]
    torch.manual_seed(1)
    given = config()
    given._experts_implementation = "eager"  # others have no 64-bit products
    model = make(given).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.3)
    return model


def request_of(model, batch=2):
    layers = prunable_layers(model)
    layers = [layer for layer in layers if isinstance(layer, ExpertsLayer)]
    assert len(layers) == 2
    return CurvatureRequest(model, find_blocks(model), layers, WINDOWS, batch)


def scaled(layer, expert, factor):
    """Scale the output of an expert."""
    for name in ("down_proj", "down_proj_bias"):
        if (weight := getattr(layer.module, name, None)) is not None:
            weight[expert] *= factor


def scaled_neuron(layer, expert, neuron, factor):
    """Scale the column of a neuron in the last layer of an expert."""
    last_weight(layer.module, expert)[:, neuron] *= factor


def losses(model):
    """Return the sum of the losses of each window."""
    logits = model(WINDOWS, use_cache=False).logits[:, :-1]
    each = functional.cross_entropy(
        logits.transpose(1, 2), WINDOWS[:, 1:], reduction="none"
    )
    return each.sum(dim=1)


def routed_by_hand(model, layer):
    """Return the tokens of each expert, and the sums of its weighted output norms."""
    calls = []
    hook = layer.module.register_forward_pre_hook(lambda _, x: calls.append(x))
    model(WINDOWS, use_cache=False)
    hook.remove()
    ((hidden, *chosen),) = calls
    tokens, norms = torch.zeros(6), torch.zeros(6)
    if not chosen:  # a run of tokens for each expert, multiplied by its weight
        outputs = layer.module(hidden).view(6, -1, 12)
        tokens += (hidden.view(6, -1, 12) != 0).any(dim=2).sum(dim=1)
        norms += outputs.norm(dim=2).sum(dim=1)
        return tokens, norms
    for state, experts, weights in zip(hidden, *chosen, strict=True):
        for e, weight in zip(experts.tolist(), weights, strict=True):
            tokens[e] += 1
            norms[e] += weight * output_of(layer.module, state, e).norm()
    return tokens, norms


def output_of(module, state, e):
    """Return the output of an expert for one token."""
    up, down = module.gate_up_proj[e], module.down_proj[e]
    if hasattr(module, "gate_up_proj_bias"):  # gpt-oss
        both = state @ up + module.gate_up_proj_bias[e]
        gate = both[::2].clamp(max=module.limit)
        linear = both[1::2].clamp(-module.limit, module.limit)
        inner = (linear + 1) * gate * torch.sigmoid(module.alpha * gate)
        return inner @ down + module.down_proj_bias[e]
    gate, linear = (up @ state).chunk(2)
    return down @ (functional.silu(gate) * linear)


@pytest.mark.slow
@each_layout
@torch.no_grad()
def test_gates_of_experts_are_derivatives_by_a_factor_on_their_output(name):
    model, eps = mixture(name), 1e-2
    request = request_of(model)
    gates = {}
    with torch.enable_grad():
        kinds = (Gate.COLUMNS, Gate.NEURONS)
        for of_block in block_gates(request, kinds, lambda: None):
            gates |= of_block
    for layer in request.layers:
        expected = []
        for expert in range(6):
            scaled(layer, expert, 1 + eps)
            above = losses(model)
            scaled(layer, expert, (1 - eps) / (1 + eps))
            below = losses(model)
            scaled(layer, expert, 1 / (1 - eps))
            expected.append((above - below) / (2 * eps))
        found = gates[layer.name].columns.double()
        close = {"rtol": 1e-2, "atol": 1e-4}  # norms and routers compute in 32 bits
        torch.testing.assert_close(found, torch.stack(expected, dim=1), **close)
        assert gates[layer.name].neurons.shape == (6, 8)
        for expert, neuron in ((0, 1), (3, 7), (5, 0)):
            scaled_neuron(layer, expert, neuron, 1 + eps)
            above = losses(model)
            scaled_neuron(layer, expert, neuron, (1 - eps) / (1 + eps))
            below = losses(model)
            scaled_neuron(layer, expert, neuron, 1 / (1 - eps))
            squares = ((above - below) / (2 * eps)).square().sum()
            found = gates[layer.name].neurons[expert, neuron].double()
            torch.testing.assert_close(found, squares, rtol=1e-2, atol=1e-6)


@each_layout
@torch.no_grad()
def test_outputs_and_counts_of_experts_equal_those_of_a_loop_over_tokens(name):
    model = mixture(name)
    request = request_of(model)
    found = routed_outputs(request, lambda: None)
    gates = {}
    with torch.enable_grad():
        for of_block in block_gates(request, (Gate.COLUMNS,), lambda: None):
            gates |= of_block
    for layer in request.layers:
        tokens, norms = routed_by_hand(model, layer)
        outputs = found[layer.name]
        assert outputs.routed.tolist() == tokens.tolist()
        assert gates[layer.name].routed.tolist() == tokens.tolist()
        torch.testing.assert_close(outputs.norms.float(), norms, rtol=1e-4, atol=1e-6)


def test_costs_are_the_mean_over_routed_tokens_and_their_number():
    measured = RoutedOutputs(torch.tensor([4, 0, 1, 5]), torch.tensor([2.0, 0, 3, 10]))
    layer = MeasuredLayer(torch.empty(0), 4, measured, 0.0)
    kept = torch.tensor([True, True, False, True])
    assert Reap().group_costs(layer, kept, 3).tolist() == [0.5, 0.0, 2.0]
    assert RoutingFrequency().group_costs(layer, kept, 3).tolist() == [4, 0, 5]
