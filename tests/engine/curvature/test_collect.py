"""A and G, measured block by block, equal a full backward pass with hooks."""

import pytest
import torch
from torch.nn import functional

from benchmarks.small_models import build
from benchmarks.small_sizes import SIZES
from surgeon_engine.api.config.pruning import Fisher
from surgeon_engine.base.errors import CurvatureError
from surgeon_engine.curvature import collect
from surgeon_engine.curvature.collect import (
    CurvatureRequest,
    block_factors,
    input_covariances,
)
from surgeon_engine.model.layers import find_blocks, prunable_layers
from tests.helpers.pairs import others_later
from tests.helpers.shared_keys import SHARED_KEYS, model_with_shared_keys
from tests.helpers.tiny_models import (
    EVERY_FAMILY,
    HYBRIDS,
    REPRESENTATIVES,
    VOCABULARY,
    tiny_model,
)

WINDOWS, LENGTH = 5, 12


def tokens() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(VOCABULARY, (WINDOWS, LENGTH), generator=g)


def task_of(model, batch=2, **options) -> CurvatureRequest:
    layers = prunable_layers(model)
    return CurvatureRequest(
        model, find_blocks(model), layers, tokens(), batch, **options
    )


def measured(model, batch=2, step=lambda: None, **options):
    task = task_of(model, batch, **options)
    found = {}
    for factors in block_factors(task, step):
        found |= factors
    return found


def full_backward(model):
    """Return A and G by definition, from a backward pass through the whole model."""
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


def assert_like_a_full_backward(model):
    """Check A and G, measured block by block, against a full backward pass."""
    found, expected = measured(model), full_backward(model)
    assert found.keys() == expected.keys()
    for name, (A, G) in expected.items():
        torch.testing.assert_close(found[name].A, A, rtol=1e-4, atol=1e-6)
        scale = float(G.abs().max())
        torch.testing.assert_close(found[name].G, G, rtol=1e-4, atol=1e-5 * scale)


# Zamba 2 has adapters that nothing reads.
@pytest.mark.parametrize(
    "family",
    others_later(
        [x for x in (*EVERY_FAMILY, *HYBRIDS) if x != "zamba2"],
        [*REPRESENTATIVES, "nemotron_h"],
    ),
)
def test_factors_equal_those_of_a_full_backward(family):
    assert_like_a_full_backward(tiny_model(family))


@pytest.mark.parametrize("batch", [1, 3, 5, 64])
def test_batch_size_does_not_matter(batch):
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


def test_number_of_steps_is_the_announced_one():
    count = 0

    def step():
        nonlocal count
        count += 1

    measured(tiny_model("llama"), batch=2, step=step)
    assert count == 9


def test_measurement_leaves_no_hooks_and_no_gradients():
    model = tiny_model("opt")
    before = {name: p.clone() for name, p in model.named_parameters()}
    measured(model)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "phi3"])
def test_inputs_alone_give_the_same_A_and_no_G(family):
    model = tiny_model(family)
    full = measured(model)
    found = input_covariances(task_of(model), lambda: None)
    assert found.keys() == full.keys()
    for name, factors in found.items():
        torch.testing.assert_close(factors.A, full[name].A)
        assert factors.G is None
    readers = {id(factors.A) for factors in full.values()}
    assert len({id(factors.A) for factors in found.values()}) == len(readers)


def test_sampled_labels_are_seeded_and_differ_from_those_of_the_text():
    model = tiny_model("llama")
    one, again, other = (
        measured(model, labels=Fisher.SAMPLED, seed=seed) for seed in (1, 1, 2)
    )
    text = measured(model)
    for name in text:
        assert torch.equal(one[name].A, text[name].A)
        assert torch.equal(one[name].G, again[name].G)
        assert not torch.allclose(one[name].G, other[name].G, rtol=1e-2)
        assert not torch.allclose(one[name].G, text[name].G, rtol=1e-2)


def test_sampled_labels_are_drawn_from_the_prediction_of_the_model():
    """The gradients of a model with certain predictions vanish."""
    model = tiny_model("llama")
    model.lm_head.weight.mul_(1e4)
    certain = measured(model, labels=Fisher.SAMPLED)
    text = measured(model)
    for name in text:
        assert certain[name].G.max() < 1e-6 * text[name].G.max()


def test_only_requested_layers_are_measured():
    model = tiny_model("llama")
    layers = prunable_layers(model)[4:6]
    task = CurvatureRequest(model, find_blocks(model), layers, tokens(), 2)
    found = {}
    for factors in block_factors(task, lambda: None):
        found |= factors
    assert found.keys() == {layer.name for layer in layers}


@pytest.mark.parametrize(
    ("behind", "layer"),
    [
        ("layers.0.mlp.up_proj", "0.self_attn.o_proj"),
        ("layers.1.mlp.down_proj", "1.mlp.up_proj"),
        ("norm", "1.mlp.down_proj"),
    ],
)
def test_error_names_the_layer_where_gradients_stop_being_finite(behind, layer):
    """The activations are finite, but the gradient of the loss is not."""
    model = tiny_model("llama")
    module = model.get_submodule(f"model.{behind}")
    module.register_forward_hook(lambda module, args, y: _Spoilt.apply(y))
    with pytest.raises(CurvatureError, match=rf"gradients of \S+{layer} are not"):
        measured(model)


class _Spoilt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        return dy * torch.inf


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", [x.name for x in prunable_layers(tiny_model("opt"))])
def test_error_of_non_finite_activations_names_their_layer(name, value):
    model = tiny_model("opt")
    model.get_submodule(name).weight[3, 4] = value
    attempts = [measured]
    if not name.endswith(("q_proj", "k_proj")):  # torch's attention hides a NaN of them
        attempts.append(lambda model: input_covariances(task_of(model), lambda: None))
    for attempt in attempts:
        with pytest.raises(CurvatureError) as error:
            attempt(model)
        assert f"come from {name}, whose weights" in error.value.message


def test_tokens_of_zero_probability_are_no_error():
    model = tiny_model("llama")

    def without_the_last(module, args, logits):
        return torch.where(
            torch.arange(VOCABULARY) == VOCABULARY - 1, -torch.inf, logits
        )

    model.lm_head.register_forward_hook(without_the_last)
    task = task_of(model)
    task.windows[task.windows == VOCABULARY - 1] = 0
    found = input_covariances(task, lambda: None)
    for factors in block_factors(task, lambda: None):
        for name, pair in factors.items():
            assert pair.G.isfinite().all()
            torch.testing.assert_close(pair.A, found[name].A)


def test_overflow_is_distinguished_from_damage():
    model = tiny_model("llama")
    up = model.model.layers[0].mlp.up_proj
    up.weight.fill_(torch.finfo(torch.float32).max)
    with pytest.raises(CurvatureError, match=r"come from \S+0\.mlp\.up_proj\.$"):
        measured(model)


def test_error_names_an_unused_layer():
    model = tiny_model("llama")
    model.model.layers[1].mlp.spare = torch.nn.Linear(16, 16)
    for attempt in (measured, lambda m: input_covariances(task_of(m), lambda: None)):
        with pytest.raises(
            CurvatureError, match=r"Nothing passed through .*mlp\.spare"
        ):
            attempt(model)


# models whose blocks receive more than hidden states


@pytest.mark.slow
@pytest.mark.parametrize("family", SHARED_KEYS)
def test_gradients_through_keys_that_later_blocks_read_are_exact(family):
    model = model_with_shared_keys(family)
    assert_like_a_full_backward(model)


@pytest.mark.slow
def test_gradients_of_shared_keys_are_those_of_each_draw(monkeypatch):
    model = model_with_shared_keys("gemma4_text")

    def measured_with(*shifts):
        def shifted(request, labels, *_):
            return [(labels.flatten() + n) % VOCABULARY for n in shifts]

        monkeypatch.setattr(collect, "_labels", shifted)
        return measured(model, labels=Fisher.SAMPLED, draws=len(shifts))

    one, other, both = measured_with(0), measured_with(7), measured_with(0, 7)
    for name, factors in both.items():
        expected = (one[name].G + other[name].G) / 2
        scale = float(expected.abs().max())
        torch.testing.assert_close(factors.G, expected, rtol=1e-4, atol=1e-5 * scale)


def test_block_that_runs_twice_raises_with_its_number():
    model = tiny_model("llama")
    layers = model.model.layers
    forward = layers[1].forward

    def twice(hidden_states, **options):
        hidden_states = layers[0](hidden_states, **options)
        return forward(hidden_states, **options)

    layers[1].forward = twice
    with pytest.raises(CurvatureError, match=r"Block 0 .* but 2 times"):
        measured(model)


@pytest.mark.parametrize("model_type", ["reformer", "xlm"])
def test_blocks_that_do_not_follow_each_other_raise(model_type):
    """Reformer passes on two streams, and XLM has its MLPs between these blocks."""
    model = build("causal", model_type, SIZES["usual"], dense=False)
    with pytest.raises(CurvatureError, match="do not simply follow each other"):
        measured(model)


def test_last_block_that_does_not_run_raises():
    """As in Mllama, whose last block may read an image alone."""
    model = tiny_model("llama")
    model.config.num_hidden_layers -= 1
    with pytest.raises(CurvatureError, match=r"last block .* on text alone"):
        measured(model)


def test_logits_in_parts_give_the_same_factors(monkeypatch):
    model = tiny_model("llama")
    expected = measured(model)
    monkeypatch.setattr(collect, "GRADIENT_LOGITS_AT_ONCE", 3 * VOCABULARY)
    found = measured(model)
    for name, pair in expected.items():
        assert torch.allclose(found[name].G, pair.G, rtol=1e-3, atol=1e-7)
