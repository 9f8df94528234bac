"""Adapters are trained, merged at the end, and leave removed weights at zero."""

from __future__ import annotations

import gc
import weakref
from itertools import product

import pytest
import torch

from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.config.recovery import (
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.recovery import distillation
from surgeon_engine.recovery.low_rank import LowRankTraining
from tests.engine.recovery.test_distillation import references, train
from tests.engine.recovery.test_refit import remove_some, text
from tests.helpers.pruning_states import assert_zeros_kept, make_state, weights

FAMILIES = ["llama", "gpt2", "opt", "gemma3"]


def lora_state(family="llama", structure=Structure.NEURONS, rank=4, **pruning):
    """Return a state whose settings ask for a training of adapters."""
    recovery = RecoveryConfig(
        Recovery.DISTILLATION,
        epochs=4.0,
        trained_weights=TrainedWeights.LORA,
        lora_rank=rank,
    )
    settings = {"structure": structure, "method": Method.MAGNITUDE} | pruning
    return make_state(family, 4, recovery, **settings)


def logits(state):
    with torch.no_grad():
        return state.loaded.model(text().held_out.windows).logits


def zeros_of(state):
    """Return the masks of removed weights by layer."""
    return {
        layer.name: zeros
        for unit in state.units
        for layer, zeros in unit.zeros(state.removed[unit.measured.name])
    }


def disturb(training):
    """Give the adapters other numbers than those they start with."""
    draw = torch.Generator().manual_seed(0)
    for parameter in training.parameters:
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)
    training.remember()


_MASKED = [Structure.ELEMENTS, Structure.ROWS_AND_COLUMNS]


@pytest.mark.parametrize(
    ("family", "structure"),
    [(family, Structure.NEURONS) for family in FAMILIES]
    + list(product(["llama", "gpt2", "opt"], _MASKED)),
)
def test_merged_model_computes_what_the_adapters_did(family, structure):
    state = lora_state(family, structure)
    if structure in _MASKED:
        remove_some(state, spread=True)
    modules = [type(module) for module in state.loaded.model.modules()]
    before = logits(state)
    training = LowRankTraining(state)
    training.start()
    torch.testing.assert_close(logits(state), before)
    disturb(training)
    unmerged = logits(state)
    assert not torch.allclose(unmerged, before, atol=1e-3)
    removed = {name: mask.clone() for name, mask in zeros_of(state).items()}
    training.finish()
    torch.testing.assert_close(logits(state), unmerged, rtol=1e-4, atol=1e-5)
    for layer in state.loaded.layers:
        assert not layer.weight()[removed.get(layer.name, slice(0))].any()
    assert [type(module) for module in state.loaded.model.modules()] == modules
    for layer in state.loaded.layers:
        assert state.loaded.model.get_submodule(layer.name) is layer.module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "structure"),
    [("gpt2", Structure.ROWS_AND_COLUMNS), ("opt", Structure.ELEMENTS)],
)
def test_training_brings_the_model_closer_and_keeps_zeros(
    family, structure, monkeypatch
):
    monkeypatch.setattr(distillation, "_LORA_RATE", 2e-2)
    state = lora_state(family, structure)
    fitted, judge = references(state)
    remove_some(state)
    training = train(state, fitted, judge)
    assert training.after < 0.95 * training.before
    assert judge.divergence() == pytest.approx(training.after, rel=1e-4)
    assert_zeros_kept(state)


def test_only_adapters_get_gradients():
    state = lora_state()
    fitted, judge = references(state)
    remove_some(state)
    one = distillation._Distillation(state, fitted, judge, judge.context)
    one._weights.start()
    one._add_gradients([0, 1])
    named = state.loaded.model.named_parameters()
    with_gradients = [name for name, p in named if p.grad is not None]
    assert with_gradients
    assert all("lora_" in name for name in with_gradients)
    one._weights.finish()


@pytest.mark.slow
def test_protected_layers_and_all_but_the_weights_of_layers_stay(monkeypatch):
    monkeypatch.setattr(distillation, "_LORA_RATE", 1e-2)
    state = lora_state(protect=("block 0",))
    fitted, judge = references(state)
    remove_some(state)
    before = weights(state)
    train(state, fitted, judge)
    after = weights(state)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert changed <= {f"{x.name}.weight" for x in state.loaded.layers if x.block != 0}


def test_model_can_be_trained_by_adapters_again():
    """As in a run with a quality budget, which recovers after several shots."""
    state = lora_state()
    for _ in range(2):
        training = LowRankTraining(state)
        training.start()
        training.finish()
    assert not hasattr(state.loaded.model, "peft_config")


def test_adapters_and_their_masks_are_freed_at_the_end():
    """A cycle would hold a mask of all layers on the device until it is collected."""
    state = lora_state(structure=Structure.ROWS_AND_COLUMNS)
    remove_some(state)
    training = LowRankTraining(state)
    training.start()
    adapters = [weakref.ref(x) for x in training._adapters.values()]
    gc.disable()
    try:
        training.finish()
        assert not any(adapter() for adapter in adapters)
    finally:
        gc.enable()
