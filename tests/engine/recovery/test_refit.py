"""A refit brings each layer closer to the original, and leaves zeros and all else."""

import copy
from dataclasses import replace
from itertools import product

import pytest
import torch

from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.run import StageStarted
from surgeon_engine.model.head import last_hidden
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery import block_pass
from surgeon_engine.recovery.block_pair import BlockPair, RecoveryText
from surgeon_engine.recovery.block_pass import BlockPass, recover_blocks
from surgeon_engine.recovery.refit import _BlockRefit, targets_of
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.hidden_store import HiddenStore
from surgeon_engine.runtime.shares import Batches
from tests.helpers import pruning_states
from tests.helpers.pruning_states import assert_zeros_kept, make_state, silent_context
from tests.helpers.runs import Recorder
from tests.helpers.shared_keys import model_with_shared_keys
from tests.helpers.tiny_models import VOCABULARY
from tests.helpers.units import zeroed

FAMILIES = ["llama", "opt", "gpt2", "gemma3", "falcon"]


def text(fitted=24, held_out=8, length=12) -> RecoveryText:
    draw = torch.Generator().manual_seed(3)
    windows = torch.randint(1, VOCABULARY, (fitted + held_out, length), generator=draw)
    batches = Batches(windows[:fitted], 4), Batches(windows[fitted:], 4)
    return RecoveryText(*batches)


def original_of(state: PruningState) -> LoadedModel:
    """Return a copy of the model, before anything is removed."""
    model = copy.deepcopy(state.loaded.model)
    return replace(state.loaded, model=model)


def refit(state, original, windows, context=None) -> BlockPass:
    """Recover the blocks of a state."""
    return recover_blocks(state, original, windows, context or silent_context())


def remove_some(state: PruningState, *, spread: bool = False) -> LoadedModel:
    """Remove candidates of every unit, without an update, and return the original.

    Args:
        state: the model.
        spread: remove every third one instead of the first ones, which are rows where
            rows and columns are removed.
    """

    def choose(unit) -> torch.Tensor:
        positions, first = torch.arange(unit.candidates), int(0.3 * unit.candidates)
        is_removed = positions % 3 == 0 if spread else positions < max(1, first)
        return is_removed & (unit.candidates > 1)

    original = original_of(state)
    state.record_removed(zeroed(state.units, choose))
    return original


def final_error(state, original, tokens) -> float:
    """Return the error of the last hidden states relative to the original's."""
    with torch.no_grad():
        one = original.model(tokens, output_hidden_states=True).hidden_states[-1]
        two = state.loaded.model(tokens, output_hidden_states=True).hidden_states[-1]
    return float((one - two).norm() / one.norm())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "structure"),
    [
        *product(FAMILIES, [Structure.NEURONS]),
        ("gpt2", Structure.ROWS_AND_COLUMNS),
        ("llama", Structure.ELEMENTS),
    ],
)
def test_refit_brings_the_model_closer_and_keeps_zeros(family, structure):
    state = make_state(family, 4, structure=structure, method=Method.MAGNITUDE)
    original = remove_some(state)
    before = final_error(state, original, text().held_out.windows)
    results = refit(state, original, text()).fits
    assert results.keys() == {unit.measured.name for unit in state.units}
    assert any(result.ridge is not None for result in results.values())
    assert all(result.after <= result.before for result in results.values())
    assert final_error(state, original, text().held_out.windows) < before
    assert_zeros_kept(state)


def test_users_windows_make_up_three_tenths_of_a_fit():
    """A window that counts three times has the fit of one that is read three times."""
    few = replace(text(fitted=8, held_out=4), users=1)
    assert few.weights().tolist() == [pytest.approx(3), *[1] * 7]
    windows = few.fitted.windows
    repeated = Batches(torch.cat([windows[:1], windows[:1], windows]), 4)
    fits = []
    for read in (few, replace(few, fitted=repeated, users=0)):
        state = make_state("gpt2", 4, method=Method.MAGNITUDE)  # with a bias
        original = remove_some(state)
        fits.append(refit(state, original, read).fits)
        fits.append(state.loaded.model.transformer.h[1].mlp.c_proj.weight)
    assert fits[0].keys() == fits[2].keys()
    torch.testing.assert_close(fits[1], fits[3], rtol=1e-3, atol=1e-5)
    assert replace(few, users=4).weights().tolist() == [1] * 8


def test_layers_after_a_missing_attention_make_up_for_it():
    structure = Structure.HEADS_AND_NEURONS
    state = make_state("opt", 4, structure=structure, method=Method.MAGNITUDE)
    original = original_of(state)
    first = min(state.units, key=lambda x: (x.measured.block, x.coupled.kind.value))
    name = first.measured.name
    state.record_removed(state.removed | {name: torch.ones(first.candidates) > 0})
    for layer, zeros in first.zeros(state.removed[name]):
        layer.write(layer.weight().masked_fill(zeros, 0))

    def error_after_block() -> float:
        given = {"input_ids": text().held_out.windows, "output_hidden_states": True}
        one = original.model(**given).hidden_states[1]
        return float((one - state.loaded.model(**given).hidden_states[1]).norm())

    before = error_after_block()
    assert name not in refit(state, original, text()).fits
    assert not first.measured.weight().any()
    # 0.87 if the MLP were fitted to its own outputs alone.
    assert error_after_block() < 0.82 * before


@pytest.mark.parametrize("family", ["opt", "gpt2"])
def test_refit_of_an_unpruned_model_changes_nothing(family):
    state = make_state(family, 4, structure=Structure.NEURONS)
    original = original_of(state)
    before = {k: x.clone() for k, x in state.loaded.model.state_dict().items()}
    results = refit(state, original, text()).fits
    assert all(result.ridge is None for result in results.values())
    after = state.loaded.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("family", "is_first_empty"),
    [("gpt2", False), ("gemma3", False), ("llama", True)],
)
def test_original_runs_beside_the_refit(family, is_first_empty, monkeypatch):
    state = make_state(family, 4, structure=Structure.NEURONS)
    original = remove_some(state)
    if is_first_empty:  # nothing of the block is fitted
        state.removed[state.units[0].measured.name][:] = True
    _, error = refit_and_error_of_original(state, original, monkeypatch)
    assert error < 0.02  # products have 16-bit inputs


def refit_and_error_of_original(state, original, monkeypatch):
    """Refit; return also the error of the original's last hidden states."""
    pairs = []

    def pair_of(*arguments):
        pairs.append(BlockPair(*arguments))
        return pairs[-1]

    monkeypatch.setattr(block_pass, "BlockPair", pair_of)
    found, (pair,) = refit(state, original, text()), pairs
    with torch.no_grad():
        expected = last_hidden(original.model, text().fitted.windows)
    fitted = pair.before[: len(text().fitted)]
    states = torch.cat([pair._original.finish(x, n) for n, x in enumerate(fitted)])
    return found, float((states - expected).norm() / expected.norm())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gemma3n_text", "gemma4_text"])
def test_refit_of_blocks_that_share_keys_brings_the_model_closer(family, monkeypatch):
    """Their arguments depend on the tokens, too."""
    monkeypatch.setattr(pruning_states, "tiny_model", model_with_shared_keys)
    state = make_state(family, 4, structure=Structure.NEURONS, method=Method.MAGNITUDE)
    original = remove_some(state)
    before = final_error(state, original, text().held_out.windows)
    found, error = refit_and_error_of_original(state, original, monkeypatch)
    assert all(result.after < result.before for result in found.fits.values())
    assert final_error(state, original, text().held_out.windows) < before
    assert error < 0.05  # products have 16-bit inputs


@pytest.mark.parametrize(
    ("family", "expected"),
    [("llama", True), ("gpt_neox", True), ("opt", True), ("gemma3", False)],
)
def test_outputs_that_are_added_to_the_residual_stream_are_found(family, expected):
    """Gemma 3 normalizes the outputs of attention and MLP before it adds them."""
    state = make_state(family, 4, structure=Structure.ROWS_AND_COLUMNS)
    original = original_of(state)
    store = HiddenStore(original.device)
    pair = BlockPair(original, state.loaded, text(), store, silent_context())
    targets = targets_of(state, original, 0)
    block = _BlockRefit(pair, targets)
    direct = {t.layer.kind for t in targets if block.adds_to_residual(t)}
    kinds = {unit.measured.kind for unit in make_state(family, 4).units}
    assert direct == (kinds if expected else set())


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("family", "stops"), [("llama", True), ("opt", True), ("gemma3", False)]
)
def test_blocks_that_stop_before_their_last_layer_have_the_same_bits(
    family, stops, products, monkeypatch
):
    is_fast = products == torch.bfloat16
    monkeypatch.setattr(devices, "multiplies_bfloat16_fast", lambda: is_fast)
    stopped, weights = [], []
    stop = BlockPair.stop_before
    monkeypatch.setattr(
        BlockPair, "stop_before", lambda *x: stopped.append(1) or stop(*x)
    )
    for may_stop in (BlockPair.may_stop, False):
        monkeypatch.setattr(BlockPair, "may_stop", may_stop)
        state = make_state(family, 4, structure=Structure.HEADS_AND_NEURONS)
        original = remove_some(state)
        refit(state, original, text())
        weights.append(state.loaded.model.state_dict())
        batches = len(text().fitted) + len(text().held_out)
        assert len(stopped) == stops * batches * len(original.blocks)
    one, two = weights
    assert all(torch.equal(x, two[name]) for name, x in one.items())


def test_stop_ends_the_refit_after_a_block():
    state = make_state("llama", 4, structure=Structure.NEURONS)
    original = remove_some(state)
    recorder = Recorder()
    recorder.context.handle(StopAndKeep(run="test"))
    found = refit(state, original, text(), recorder.context)
    assert found.fits == {}
    assert recorder.of(StageStarted)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_later_layers_make_up_for_the_errors_of_earlier_ones(family, monkeypatch):
    errors = []
    for _ in range(2):
        state = make_state(family, 4, structure=Structure.HEADS_AND_NEURONS)
        original = remove_some(state)
        refit(state, original, text(60, 20))
        errors.append(final_error(state, original, text(60, 20).held_out.windows))
        monkeypatch.setattr(_BlockRefit, "adds_to_residual", lambda *_: False)
    with_residuals, without = errors
    assert with_residuals < without
