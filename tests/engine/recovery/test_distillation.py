"""Training brings a pruned model closer, keeps zeros, and never ends worse."""

import gc
import weakref
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.run import HeldOutMeasured
from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.evaluation.fidelity import Reference, divergences
from surgeon_engine.model.head import last_hidden
from surgeon_engine.model.products import fast_products
from surgeon_engine.recovery import distillation
from surgeon_engine.recovery.distillation import distil
from surgeon_engine.recovery.fresh_text import FreshText
from surgeon_engine.recovery.judge import Judge, predictions
from surgeon_engine.recovery.low_rank import LowRankTraining
from surgeon_engine.recovery.weight_training import (
    WeightTraining,
    checkpointed,
    rate_at,
)
from surgeon_engine.runtime.hidden_store import HiddenStore
from tests.engine.recovery.test_refit import original_of, remove_some, text
from tests.helpers.pruning_states import (
    assert_unchanged,
    assert_zeros_kept,
    make_state,
    silent_context,
    weights,
)
from tests.helpers.runs import Recorder
from tests.helpers.tiny_models import tiny_model


def state_of(
    family="llama", structure=Structure.NEURONS, trained=TrainedWeights.FULL, **pruning
):
    """Return a state whose settings ask for a training."""
    recovery = RecoveryConfig(
        Recovery.DISTILLATION, epochs=4.0, trained_weights=trained, lora_rank=4
    )
    settings = {"structure": structure, "method": Method.MAGNITUDE} | pruning
    return make_state(family, 4, recovery, **settings)


def references(state):
    """Return the text to fit, equal in each epoch, and the judge of the model."""
    model, windows = state.loaded.model, text()
    users, none = windows.fitted.windows[:, None], windows.fitted.windows[:0]
    store = HiddenStore(state.loaded.device)
    return (
        FreshText(original_of(state), list(users), none, none, 0, 3, 0, store),
        Judge(
            model,
            predictions(model, windows.held_out, int),
            silent_context(),
            model.dtype,
        ),
    )


def pruned_and_text(*kinds, **settings):
    """Return a pruned model, with the text and the judge of its original."""
    state = state_of(*kinds, **settings)
    fitted, judge = references(state)
    remove_some(state)
    return state, fitted, judge


def train(state, fitted, judge, context=None):
    """Train the pruned model."""
    context = context or silent_context()
    return distil(state, fitted, judge, judge.divergence(), context)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "structure", "trained", "share"),
    [
        ("llama", Structure.NEURONS, TrainedWeights.FULL, 0.9),
        ("opt", Structure.ELEMENTS, TrainedWeights.FULL, 0.9),
        ("gpt2", Structure.ROWS_AND_COLUMNS, TrainedWeights.FULL, 0.9),
        ("gpt2", Structure.ROWS_AND_COLUMNS, TrainedWeights.LORA, 0.95),
        ("opt", Structure.ELEMENTS, TrainedWeights.LORA, 0.95),
    ],
)
def test_training_brings_the_model_closer_and_keeps_zeros(
    family, structure, trained, share, monkeypatch
):
    monkeypatch.setattr(distillation, "_RATE", 3e-3)
    monkeypatch.setattr(distillation, "_LORA_RATE", 2e-2)
    state, fitted, judge = pruned_and_text(family, structure, trained)
    before = judge.divergence()
    embeddings = state.loaded.model.get_input_embeddings().weight.clone()
    training = train(state, fitted, judge)
    after = judge.divergence()
    assert training.before == pytest.approx(before, rel=1e-6)
    assert training.after < share * training.before
    rounding = 1e-4 if trained is TrainedWeights.LORA else 1e-6  # from merging
    assert after == pytest.approx(training.after, rel=rounding)
    assert torch.equal(state.loaded.model.get_input_embeddings().weight, embeddings)
    assert_zeros_kept(state)


@pytest.mark.slow
def test_training_that_makes_it_worse_is_undone(monkeypatch):
    monkeypatch.setattr(distillation, "_RATE", 10.0)
    state, fitted, judge = pruned_and_text()
    before = weights(state)
    training = train(state, fitted, judge)
    assert training.after == training.before
    assert_unchanged(state, before)


@pytest.mark.parametrize(("nats", "share"), [(0.09, 0.2), (0.45, 1.0), (3.0, 1.0)])
def test_rate_is_lower_where_the_model_is_close(nats, share, monkeypatch):
    rates = []
    monkeypatch.setattr(distillation, "rate_at", lambda x, *_: rates.append(x) or 0.0)
    state = state_of()
    fitted, judge = references(state)
    distil(state, fitted, judge, nats, silent_context())
    assert rates == pytest.approx([share * distillation._RATE] * 48)


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
    # Both use the head of the model.
    p, q = (model.lm_head(x)[:, :-1] for x in (expected, last_hidden(model, tokens)))
    parameter = model.model.layers[0].mlp.down_proj.weight
    (dense,) = torch.autograd.grad(divergences(p.detach(), q).mean(), parameter)
    distillation.add_gradients(model, Reference(tokens, [expected]), model.dtype)
    torch.testing.assert_close(parameter.grad, dense.float(), rtol=1e-4, atol=1e-7)


def gradients_of(state):
    """Return the gradients of the first step of a training."""
    fitted, judge = references(state)
    remove_some(state)
    one = distillation._Distillation(state, fitted, judge, silent_context())
    one._weights.start()
    one._add_gradients(fitted.of_epoch(1, int), [0, 1])
    return [p.grad.clone() for p in one._weights.parameters if p.grad is not None]


@pytest.mark.slow
def test_gradient_in_parts_equals_that_of_the_whole(monkeypatch):
    """The head runs on a few tokens at a time."""
    found = []
    for at_once in (2**25, 200):
        monkeypatch.setattr("surgeon_engine.model.head.LOGITS_AT_ONCE", at_once)
        state = state_of()
        found.append(gradients_of(state))
    for whole, in_parts in zip(*found, strict=True):
        torch.testing.assert_close(in_parts, whole, rtol=0.05, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("trained", [TrainedWeights.FULL, TrainedWeights.LORA])
def test_protected_layers_stay(trained, monkeypatch):
    """Adapters change nothing but the weights of layers."""
    monkeypatch.setattr(distillation, "_RATE", 3e-3)
    monkeypatch.setattr(distillation, "_LORA_RATE", 1e-2)
    state, fitted, judge = pruned_and_text(trained=trained, protect=("block 0",))
    before = weights(state)
    train(state, fitted, judge)
    after = weights(state)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    first = {f"{x.name}.weight" for x in state.loaded.layers if x.block == 0}
    others = {f"{x.name}.weight" for x in state.loaded.layers if x.block != 0}
    assert changed
    assert first
    assert not changed & first
    assert trained is TrainedWeights.FULL or changed <= others


def test_stop_ends_the_training_and_keeps_what_is_won(monkeypatch):
    monkeypatch.setattr(distillation, "_RATE", 3e-3)
    state, fitted, judge = pruned_and_text()
    recorder, step = Recorder(), WeightTraining.step

    def last_step(*arguments):
        step(*arguments)
        recorder.context.handle(StopAndKeep(run="test"))

    monkeypatch.setattr(WeightTraining, "step", last_step)
    training = train(state, fitted, judge, recorder.context)
    assert training.steps == 1
    assert training.stopped_early
    measured = recorder.of(HeldOutMeasured)
    assert [event.done for event in measured] == [0, 1]
    assert training.after == min(event.nats for event in measured)


def test_stop_after_the_last_step_cuts_nothing(monkeypatch):
    state, fitted, judge = pruned_and_text()
    recorder = Recorder()

    def stop_at_the_end(event):
        if isinstance(event, HeldOutMeasured) and event.done == event.total:
            recorder.context.handle(StopAndKeep(run="test"))

    recorder.react = stop_at_the_end
    training = train(state, fitted, judge, recorder.context)
    assert recorder.context.stops_after_shot
    assert not training.stopped_early


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


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_gradients_with_checkpointing_equal_those_without(family):
    found = []
    for checkpointing in (GradientCheckpointing.OFF, GradientCheckpointing.ON):
        state = state_of(family)
        recovery = replace(state.config.recovery, gradient_checkpointing=checkpointing)
        state.config = replace(state.config, recovery=recovery)
        found.append(gradients_of(state))
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


def test_training_goes_on_from_its_saved_state_alone():
    def training(rows=2):
        weight = nn.Parameter(torch.ones(rows, 3))
        found = WeightTraining([weight], {})
        found.start()
        return found, weight

    def step(found, weight):
        weight.grad = weight.detach() * torch.arange(3.0)
        found.step(0.1)
        return weight.detach().clone()

    first, weight = training()
    step(first, weight)
    first.remember()
    saved = {name: x.clone() for name, x in first.tensors().items()}
    after = step(first, weight)
    second, weight = training()
    second.load(saved)
    assert torch.equal(step(second, weight), after)
    second.finish()
    assert torch.equal(weight, saved["best.0"])
    with pytest.raises(RunFolderError, match="another model"):
        training(rows=4)[0].load(saved)


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
    """Replace the initial values of the adapters."""
    draw = torch.Generator().manual_seed(0)
    for parameter in training.parameters:
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)
    training.remember()


_MASKED = [Structure.ELEMENTS, Structure.ROWS_AND_COLUMNS]


@pytest.mark.parametrize(
    ("family", "structure"),
    [(family, Structure.NEURONS) for family in ("llama", "gpt2", "opt", "gemma3")]
    + list(product(["llama", "gpt2", "opt"], _MASKED)),
)
def test_merged_model_computes_what_the_adapters_did(family, structure):
    state = state_of(family, structure, TrainedWeights.LORA)
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


@pytest.mark.parametrize(
    ("family", "structure"),
    [("llama", Structure.NEURONS), ("gpt2", Structure.ELEMENTS)],
)
def test_judged_model_has_the_weights_that_16_bits_hold(family, structure):
    state = state_of(family, structure, TrainedWeights.LORA)
    model = state.loaded.model.to(torch.bfloat16)
    remove_some(state, spread=structure in _MASKED)
    training = LowRankTraining(state)
    training.start()
    disturb(training)
    with fast_products(model):
        trained = logits(state)
        with training.as_written():
            judged = logits(state)
    training.finish()
    assert not torch.equal(judged, trained)
    with fast_products(model):
        assert torch.equal(logits(state), judged)


def test_only_adapters_get_gradients():
    state, fitted, judge = pruned_and_text(trained=TrainedWeights.LORA)
    one = distillation._Distillation(state, fitted, judge, judge.context)
    one._weights.start()
    one._add_gradients(fitted.of_epoch(1, int), [0, 1])
    named = state.loaded.model.named_parameters()
    with_gradients = [name for name, p in named if p.grad is not None]
    assert with_gradients
    assert all("lora_" in name for name in with_gradients)
    one._weights.finish()


def test_model_can_be_trained_by_adapters_again():
    """As in a run with a quality budget, which recovers after several shots."""
    state = state_of(trained=TrainedWeights.LORA)
    for _ in range(2):
        training = LowRankTraining(state)
        training.start()
        training.finish()
    assert not hasattr(state.loaded.model, "peft_config")


def test_adapters_and_their_masks_are_freed_at_the_end():
    """A cycle would hold a mask of all layers on the device until it is collected."""
    state = state_of("llama", Structure.ROWS_AND_COLUMNS, TrainedWeights.LORA)
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
