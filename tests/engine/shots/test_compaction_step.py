"""Shots on a compacted model give the same results as on the full-size one."""

from functools import partial

import msgspec
import pytest
import torch

from surgeon_engine.api.config.pruning import Damping, Structure
from surgeon_engine.shots import loop
from surgeon_engine.shots.compaction_step import compact_state, full_size_model
from tests.helpers.pairs import others_later
from tests.helpers.pruning_states import make_state
from tests.helpers.runs import Outcome, job, outcome
from tests.helpers.tiny_models import (
    EVERY_FAMILY,
    NEURON_FAMILIES,
    REPRESENTATIVES,
    VOCABULARY,
)
from tests.helpers.units import zeroed

pytestmark = pytest.mark.usefixtures("quick_runs")

ALIBI = ("bloom", "falcon_multi_head")  # ALiBi depends on the number of heads


def logits(model) -> torch.Tensor:
    ids = torch.arange(1, 61).view(3, -1) % VOCABULARY
    with torch.no_grad():
        return model(ids, use_cache=False).logits


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    largest = float(theirs.abs().max())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * largest)


def without_costs(shot):
    """Return the layers of a shot without their costs, which depend on rounding."""
    return [msgspec.structs.replace(layer, cost=0.0) for layer in shot.layers]


def one_candidate(number: int, unit) -> torch.Tensor:
    """Return a mask of one candidate, or of none if there is one alone."""
    count = unit.candidates
    return torch.arange(count) == (number % count if count > 1 else -1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    others_later(
        [x for x in EVERY_FAMILY if x not in (*ALIBI, *NEURON_FAMILIES)],
        REPRESENTATIVES,
    ),
)
def test_model_compacted_twice_computes_the_same(family):
    """At the end it is restored to full size, with zeros."""
    state = make_state(family, sparsity=0.5)
    for parameter in state.loaded.model.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.rand_like(parameter))
    parameters = sum(p.numel() for p in state.loaded.model.parameters())
    removed = 0
    for round_number in range(2):
        masks = zeroed(state.units, partial(one_candidate, round_number))
        state.record_removed(masks)
        removed += sum(
            int(masks[unit.measured.name].sum()) * unit.coupled.weights_per_group
            for unit in state.units
        )
        before, sparsities = logits(state.loaded.model), state.sparsities()
        compact_state(state)
        assert_same(logits(state.loaded.model), before)
        assert state.sparsities() == sparsities
    assert sum(layer.removed for layer in sparsities) == removed
    assert state.compacted_weights == removed
    left = sum(p.numel() for p in state.loaded.model.parameters())
    assert parameters - left >= removed  # norms of single heads went too
    whole = full_size_model(state)
    assert_same(logits(whole.loaded.model), before)
    assert sum(p.numel() for p in whole.loaded.model.parameters()) == parameters


def both_ways(tmp_path, monkeypatch, **settings) -> list[Outcome]:
    """Run with and without compaction between the shots."""
    config = job(tmp_path, windows=8, shots=3, **settings)
    compacted = outcome(config, tmp_path / "compacted")
    monkeypatch.setattr(loop, "compact_state", lambda state: None)
    return [compacted, outcome(config, tmp_path / "full size")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        pytest.param("llama", {"damping": Damping.AUTOMATIC}, id="automatic"),
        pytest.param("opt", {"min_density": 0.5, "sparsity": 0.2}, id="least"),
        pytest.param("gpt2", {"width_multiple": 4}, id="bundles"),
        pytest.param("llama", {"max_perplexity_increase": 100.0}, id="budget"),
        pytest.param(
            "phi3", {"structure": Structure.HEADS, "sparsity": 0.15}, id="heads"
        ),
    ],
)
def test_run_with_compaction_ends_with_the_same_weights(
    tmp_path, monkeypatch, family, settings
):
    settings = {"sparsity": 0.4, "family": family} | settings
    smaller, full = both_ways(tmp_path, monkeypatch, **settings)
    assert len(smaller.shots) == len(full.shots)
    for ours, theirs in zip(smaller.shots, full.shots, strict=True):
        assert without_costs(ours) == without_costs(theirs)
        costs = [layer.cost for layer in theirs.layers]
        assert [layer.cost for layer in ours.layers] == pytest.approx(costs, rel=1e-3)
        assert (ours.sparsity, ours.parameters) == (theirs.sparsity, theirs.parameters)
        assert (ours.threshold is None) == (theirs.threshold is None)
        if theirs.threshold is not None:
            assert ours.threshold == pytest.approx(theirs.threshold, rel=0.05)
        assert ours.evaluation.loss == pytest.approx(theirs.evaluation.loss, rel=1e-4)
    for name, W in smaller.after.items():
        torch.testing.assert_close(W, full.after[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_every_shot_leaves_a_smaller_model(tmp_path, monkeypatch):
    sizes = []

    def watched(state):
        compact_state(state)
        model = state.loaded.model
        sizes.append(sum(p.numel() for p in model.parameters()))

    monkeypatch.setattr(loop, "compact_state", watched)
    run = outcome(job(tmp_path, shots=3, sparsity=0.4), tmp_path / "run")
    assert sizes[:3] == [shot.parameters for shot in run.shots]
    assert sizes[0] > sizes[1] > sizes[2]


def test_full_size_model_is_the_loaded_one_without_compaction():
    state = make_state("bloom", sparsity=0.3)  # ALiBi: heads cannot be taken out
    name = state.units[0].measured.name
    removed = state.removed[name].clone()
    removed[0] = True
    state.record_removed(state.removed | {name: removed})
    compact_state(state)
    assert state.compacted_weights == 0
    assert full_size_model(state).loaded is state.loaded


def test_state_without_removals_is_not_compacted():
    state = make_state(sparsity=0.3)
    loaded, units = state.loaded, state.units
    compact_state(state)
    assert state.loaded is loaded
    assert state.units is units
