"""Training brings a pruned model closer, keeps zeros, and never ends worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    RecoveryConfig,
)
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.run import HeldOutMeasured
from surgeon_engine.evaluation.divergence import divergences
from surgeon_engine.evaluation.fidelity import reference_of
from surgeon_engine.model.head import last_hidden
from surgeon_engine.recovery import distillation
from surgeon_engine.recovery.distillation import distil
from surgeon_engine.recovery.judge import Judge
from surgeon_engine.recovery.weight_training import checkpointed, rate_at
from surgeon_engine.runtime.run_context import RunContext
from tests.engine.recovery.test_refit import remove_some, text
from tests.helpers.pruning_states import (
    assert_unchanged,
    assert_zeros_kept,
    make_state,
    silent_context,
    weights,
)
from tests.helpers.tiny_models import tiny_model

STRUCTURES = [Structure.NEURONS, Structure.ROWS_AND_COLUMNS, Structure.ELEMENTS]


def state_of(family="llama", structure=Structure.NEURONS, epochs=4.0, **pruning):
    """Return a state whose settings ask for a training."""
    recovery = RecoveryConfig(Recovery.DISTILLATION, epochs=epochs)
    settings = {"structure": structure, "method": Method.MAGNITUDE} | pruning
    return make_state(family, 4, recovery, **settings)


def references(state):
    """Return the reference to fit and the judge of the model as it is now."""
    model, windows = state.loaded.model, text()
    return (
        reference_of(model, windows.fitted.windows, 3, int),
        Judge.of(model, model, windows.held_out, silent_context()),
    )


def train(state, fitted, judge, context=None):
    """Train the pruned model."""
    context = context or silent_context()
    return distil(state, fitted, judge, judge.divergence(), context)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "structure"),
    [
        ("llama", Structure.NEURONS),
        ("opt", Structure.ELEMENTS),
        ("gpt2", Structure.ROWS_AND_COLUMNS),
    ],
)
def test_training_brings_the_model_closer_and_keeps_zeros(
    family, structure, monkeypatch
):
    monkeypatch.setattr(distillation, "_RATE", 3e-3)
    state = state_of(family, structure)
    fitted, judge = references(state)
    remove_some(state)
    before = judge.divergence()
    embeddings = state.loaded.model.get_input_embeddings().weight.clone()
    training = train(state, fitted, judge)
    after = judge.divergence()
    assert training.before == pytest.approx(before, rel=1e-6)
    assert training.after < 0.9 * training.before
    assert after == pytest.approx(training.after, rel=1e-6)
    assert torch.equal(state.loaded.model.get_input_embeddings().weight, embeddings)
    assert_zeros_kept(state)


@pytest.mark.slow
def test_training_that_makes_it_worse_is_undone(monkeypatch):
    monkeypatch.setattr(distillation, "_RATE", 10.0)
    state = state_of()
    fitted, judge = references(state)
    remove_some(state)
    before = weights(state)
    training = train(state, fitted, judge)
    assert training.after == training.before
    assert_unchanged(state, before)


@pytest.mark.slow
def test_training_of_an_unpruned_model_changes_nothing():
    state = state_of()
    before = weights(state)
    training = train(state, *references(state))
    assert training.after == training.before
    assert_unchanged(state, before)


def test_gradient_is_that_of_the_mean_divergence():
    original, model = (tiny_model("llama", seed=seed) for seed in (0, 1))
    tokens = torch.randint(96, (2, 9), generator=torch.Generator().manual_seed(0))
    model.requires_grad_(True)
    with torch.no_grad():
        expected = last_hidden(original, tokens)
    # The head is that of the model for both.
    p, q = (model.lm_head(x)[:, :-1] for x in (expected, last_hidden(model, tokens)))
    parameter = model.model.layers[0].mlp.down_proj.weight
    (dense,) = torch.autograd.grad(divergences(p.detach(), q).mean(), parameter)
    distillation.add_gradients(model, tokens, expected, model.dtype)
    torch.testing.assert_close(parameter.grad, dense.float(), rtol=1e-4, atol=1e-7)


def test_gradient_in_parts_equals_that_of_the_whole(monkeypatch):
    """The head runs on a few tokens at a time."""
    found = []
    for at_once in (2**25, 200):
        monkeypatch.setattr("surgeon_engine.model.head.LOGITS_AT_ONCE", at_once)
        state = state_of()
        fitted, judge = references(state)
        remove_some(state)
        one = distillation._Distillation(state, fitted, judge, silent_context())
        one._weights.start()
        one._add_gradients([0, 1])
        parameters = one._weights.parameters
        found.append([p.grad.clone() for p in parameters if p.grad is not None])
    for whole, in_parts in zip(*found, strict=True):
        torch.testing.assert_close(in_parts, whole, rtol=0.05, atol=2e-3)


@pytest.mark.slow
def test_protected_layers_stay(monkeypatch):
    monkeypatch.setattr(distillation, "_RATE", 3e-3)
    state = state_of(protect=("block 0",))
    fitted, judge = references(state)
    remove_some(state)
    before = weights(state)
    train(state, fitted, judge)
    after = weights(state)
    layers = {layer.name for layer in state.loaded.layers if layer.block == 0}
    assert layers
    for name in layers:
        assert torch.equal(before[f"{name}.weight"], after[f"{name}.weight"])
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_stop_ends_the_training_and_keeps_what_is_won(monkeypatch):
    monkeypatch.setattr(distillation, "_RATE", 3e-3)
    state = state_of()
    fitted, judge = references(state)
    remove_some(state)
    events = []
    context = RunContext("test", lambda envelope: events.append(envelope.event))
    context.handle(StopAndKeep(run="test"))
    training = train(state, fitted, judge, context)
    assert training.steps == 1
    measured = [event for event in events if isinstance(event, HeldOutMeasured)]
    assert [event.done for event in measured] == [0, 1]
    assert training.after == min(event.nats for event in measured)


@pytest.mark.slow
def test_bfloat16_model_is_trained_in_float32(monkeypatch):
    monkeypatch.setattr(distillation, "_RATE", 1e-3)
    state = state_of()
    state.loaded.model.to(torch.bfloat16)
    fitted, judge = references(state)
    remove_some(state)
    training = train(state, fitted, judge)
    assert training.after < training.before
    assert {p.dtype for p in state.loaded.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_gradients_with_checkpointing_equal_those_without(family):
    found = []
    for checkpointing in (GradientCheckpointing.OFF, GradientCheckpointing.ON):
        state = state_of(family)
        recovery = replace(state.config.recovery, gradient_checkpointing=checkpointing)
        state._config = replace(state.config, recovery=recovery)
        fitted, judge = references(state)
        remove_some(state)
        one = distillation._Distillation(state, fitted, judge, silent_context())
        one._weights.start()
        one._add_gradients([0, 1])
        parameters = one._weights.parameters
        found.append([p.grad.clone() for p in parameters if p.grad is not None])
        assert all("forward" not in vars(block) for block in state.loaded.blocks)
    without, with_checkpointing = found
    assert len(without) == len(with_checkpointing) > 0
    assert all(map(torch.equal, without, with_checkpointing))


def test_checkpointing_keeps_the_activations_of_no_block():
    saved = []
    for checkpointing in (False, True):
        state = state_of()
        blocks = state.loaded.blocks if checkpointing else ()
        for parameter in state.loaded.model.parameters():
            parameter.requires_grad_(True)
        sizes = []

        def pack(x, sizes=sizes):
            sizes.append(x.numel())
            return x

        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
            checkpointed(blocks),
        ):
            state.loaded.model(text().fitted.windows)
        saved.append(sum(sizes))
    assert saved[1] < 0.5 * saved[0]


def test_rate_warms_up_and_falls_with_the_time():
    assert rate_at(2e-4, 0, 0.0) < rate_at(2e-4, 4, 0.0) == pytest.approx(2e-4)
    assert rate_at(2e-4, 9, 0.5) == pytest.approx(2e-4 * 0.525)
    assert rate_at(2e-4, 9, 1.0) == pytest.approx(1e-5)
