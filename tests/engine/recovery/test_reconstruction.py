"""Reconstruction trains each block toward the original's, and never makes it worse."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.recovery import block_pass, reconstruction
from surgeon_engine.recovery.reconstruction import reconstruct
from surgeon_engine.recovery.weight_training import WeightTraining, masks_of, trainable
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.shares import Batches
from tests.engine.recovery.test_refit import (
    final_error,
    refit,
    remove_some,
    text,
)
from tests.helpers.pruning_states import assert_zeros_kept, make_state, silent_context

UP = "model.layers.0.mlp.up_proj"
FAMILIES = ["llama", "opt", "gpt2", "gpt_neox", "gemma3", "falcon"]


def state_of(
    family="llama",
    structure=Structure.NEURONS,
    level=Recovery.RECONSTRUCTION,
    **pruning,
):
    """Return a state whose settings ask for a level of recovery."""
    settings = {"structure": structure, "method": Method.MAGNITUDE} | pruning
    return make_state(family, 4, RecoveryConfig(level), **settings)


class LinearPair:
    """A block W h of a toy model, whose states after it are given."""

    def __init__(self, X, Y, held_out, context=None):
        torch.manual_seed(1)
        self.layer = nn.Linear(X.shape[-1], Y.shape[-1], bias=False)
        self.of_pruned = [X, held_out[0]]
        self.after = [Y, held_out[1]]
        self.fitted = Batches(X, len(X))
        self.is_held_out = [False, True]
        self.context = context or silent_context()

    def run_pruned(self, hidden, number, rows=slice(None)):
        return self.layer(hidden)


def toy(context=None, noise=0.1):
    """Return a linear block, and the solution of its least squares."""
    draw = torch.Generator().manual_seed(0)
    W = torch.randn(6, 5, generator=draw)
    X = torch.randn(40, 4, 5, generator=draw)
    held_out = torch.randn(10, 4, 5, generator=draw)

    def targets(x):
        return x @ W.T + noise * torch.randn(*x.shape[:2], 6, generator=draw)

    Y = targets(X)
    best = torch.linalg.lstsq(X.flatten(0, 1), Y.flatten(0, 1)).solution.T
    return LinearPair(X, Y, (held_out, targets(held_out)), context), best


@pytest.mark.slow
def test_linear_block_reaches_least_squares(monkeypatch):
    monkeypatch.setattr(reconstruction, "_RATE", 0.6)
    monkeypatch.setattr(reconstruction, "RECONSTRUCTION_EPOCHS", 20)
    pair, best = toy()
    result = reconstruct(pair, WeightTraining([pair.layer.weight], {}), 0)
    torch.testing.assert_close(pair.layer.weight.data, best, rtol=0, atol=0.01)
    assert result.after < 0.02 < result.before


def test_loss_is_relative_to_the_energy_of_the_targets():
    pair, _ = toy()
    nn.init.zeros_(pair.layer.weight)
    one = reconstruction._Reconstruction(
        pair, WeightTraining([pair.layer.weight], {}), 0
    )
    assert one._held_out_error() == pytest.approx(1.0)
    assert one._energy == pytest.approx(float(pair.after[0].square().mean()))


def test_training_that_makes_a_block_worse_is_undone(monkeypatch):
    monkeypatch.setattr(reconstruction, "_RATE", 600.0)
    pair, best = toy(noise=0.5)
    pair.layer.weight.data.copy_(best)
    result = reconstruct(pair, WeightTraining([pair.layer.weight], {}), 0)
    assert result.after == result.before
    assert torch.equal(pair.layer.weight.data, best)


def test_weights_that_get_worse_by_rounding_are_undone(monkeypatch):
    pair, best = toy(noise=0.5)
    weight = pair.layer.weight
    weight.data.copy_(0.9 * best)
    before = weight.detach().clone()
    trained = WeightTraining([weight], {})
    end = trained.finish

    def finish():
        end()
        weight.data.round_()

    monkeypatch.setattr(trained, "finish", finish)
    result = reconstruct(pair, trained, 0)
    assert result.after == result.before
    assert torch.equal(weight.data, before)


def test_removed_weights_stay_zero_after_every_step(monkeypatch):
    monkeypatch.setattr(reconstruction, "_RATE", 0.6)
    pair, _ = toy()
    weight = pair.layer.weight
    kept = torch.rand(weight.shape) > 0.5
    weight.data.mul_(kept)
    trained = WeightTraining([weight], {id(weight): kept})
    taken = trained.step

    def step(rate):
        taken(rate)
        assert not weight[~kept].any()

    monkeypatch.setattr(trained, "step", step)
    assert reconstruct(pair, trained, 0).after < 0.9
    assert not weight[~kept].any()


def test_stop_ends_the_training_of_a_block_and_keeps_what_is_won(monkeypatch):
    monkeypatch.setattr(reconstruction, "_RATE", 0.6)
    context = RunContext("test", lambda envelope: None)
    context.handle(StopAndKeep(run="test"))
    pair, _ = toy(context)
    trained, steps = WeightTraining([pair.layer.weight], {}), []
    taken = trained.step
    monkeypatch.setattr(trained, "step", lambda rate: steps.append(taken(rate)))
    result = reconstruct(pair, trained, 0)
    assert len(steps) == 1
    assert result.after < result.before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "structure"),
    [
        ("opt", Structure.NEURONS),
        ("gemma3", Structure.NEURONS),
        ("gpt2", Structure.ROWS_AND_COLUMNS),
        ("llama", Structure.ELEMENTS),
    ],
)
def test_reconstruction_brings_the_model_closer_than_the_refit(
    family, structure, monkeypatch
):
    monkeypatch.setattr(reconstruction, "_RATE", 0.03)
    monkeypatch.setattr(reconstruction, "RECONSTRUCTION_EPOCHS", 2)
    errors = []
    for level in (Recovery.REFIT, Recovery.RECONSTRUCTION):
        state = state_of(family, structure, level)
        original = remove_some(state)
        result = refit(state, original, text())
        errors.append(final_error(state, original, text().held_out.windows))
    by_refit, by_reconstruction = errors
    assert result.reconstructed > 0
    assert all(each.after <= each.before for each in result.reconstructions)
    assert by_reconstruction < by_refit
    assert_zeros_kept(state)


@pytest.mark.slow
def test_only_the_weights_of_the_block_get_gradients(monkeypatch):
    state = state_of(protect=(UP,))
    original = remove_some(state)
    protected = next(
        x.module.weight
        for x in state.loaded.layers
        if x.name == "model.layers.0.mlp.up_proj"
    )
    seen = []

    def watched(pair, trained, seed):
        taken = trained.step
        block = state.loaded.blocks[pair.index]
        own = {id(p) for p in block.parameters()} - {id(protected)}

        def step(rate):
            with_gradient = {
                id(p) for p in state.loaded.model.parameters() if p.grad is not None
            }
            seen.append(with_gradient == own)
            taken(rate)

        trained.step = step
        return reconstruct(pair, trained, seed)

    monkeypatch.setattr(block_pass, "reconstruct", watched)
    before = protected.clone()
    refit(state, original, text())
    assert seen
    assert all(seen)
    assert torch.equal(protected, before)


@pytest.mark.slow
def test_bfloat16_block_is_trained_in_float32_and_judged_in_its_own_format():
    state = state_of()
    state.loaded.model.to(torch.bfloat16)
    original = remove_some(state)
    result = refit(state, original, text())
    assert all(each.after <= each.before for each in result.reconstructions)
    assert {p.dtype for p in state.loaded.model.parameters()} == {torch.bfloat16}


def test_masks_and_trained_parameters_of_a_block():
    state = state_of(structure=Structure.ELEMENTS)
    remove_some(state)
    masks = masks_of(state)
    parameters = trainable(state, state.loaded.blocks[0])
    assert {id(p) for p in parameters} == {
        id(p) for p in state.loaded.blocks[0].parameters()
    }
    for parameter in parameters:
        if parameter.ndim == 2:
            assert torch.equal(masks[id(parameter)], parameter != 0)


def test_stop_ends_the_pass_after_a_block():
    state = state_of()
    original = remove_some(state)
    context = RunContext("test", lambda envelope: None)
    stopped = SimpleNamespace(done=False)
    real = reconstruct

    def stopping(*arguments):
        stopped.done = True
        context.handle(StopAndKeep(run="test"))
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_pass, "reconstruct", stopping)
        result = refit(state, original, text(), context)
    assert stopped.done
    assert len(result.reconstructions) == 1
