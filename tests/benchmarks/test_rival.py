"""The rival prunes by first-order gates and distils until its time is over."""

import pytest
import torch

from benchmarks.quality_table import rival
from surgeon_engine.api.config.pruning import Fisher, Method, Structure
from surgeon_engine.evaluation.fidelity import compare, reference_of
from tests.helpers.pruning_states import (
    assert_zeros_kept,
    make_state,
    silent_context,
    weights,
)

WINDOWS = 8
STEPS = 20


def state_of(structure=Structure.NEURONS):
    """Return a state of a tiny model with the settings of a rival."""
    return make_state(
        "llama",
        WINDOWS,
        structure=structure,
        method=Method.FIRST_ORDER,
        fisher=Fisher.EMPIRICAL,
        sparsity=0.3,
        shots=1,
    )


def after(steps):
    """Return a progress that ends after a number of steps."""
    return lambda done: done / steps


def run(state, progress):
    return rival.prune_and_distil(state, 1.0, progress, silent_context())


def fitted(state):
    """Return the reference of the windows on which the rival trains."""
    windows = state.windows.calibration[: -WINDOWS // 4]
    return reference_of(state.loaded.model, windows, 4, int)


def nats(state, reference):
    return compare(state.loaded.model, reference, int).divergence


@pytest.mark.slow
def test_rival_trains_the_pruned_model_for_its_steps(monkeypatch):
    monkeypatch.setattr(rival, "_RATE", 3e-3)
    pruned, trained = state_of(), state_of()
    reference = fitted(pruned)
    shot, steps = run(pruned, lambda _: 1.0)
    assert steps == 0
    assert 0.25 < shot.sparsity <= 0.3
    same, steps = run(trained, after(STEPS))
    assert steps == STEPS
    assert same.sparsity == shot.sparsity
    assert nats(trained, reference) < 0.9 * nats(pruned, reference)
    assert_zeros_kept(trained)


@pytest.mark.slow
def test_best_weights_on_the_held_out_windows_are_kept(monkeypatch):
    monkeypatch.setattr(rival, "_RATE", 10.0)
    pruned, trained = state_of(), state_of()
    run(pruned, lambda _: 1.0)
    run(trained, after(STEPS))
    before, found = weights(pruned), weights(trained)
    assert all(torch.equal(before[name], found[name]) for name in before)


@pytest.mark.slow
def test_time_of_the_mask_counts():
    used = iter([0.5])
    steps = run(state_of(), lambda done: next(used, 0.5 + done / STEPS))[1]
    assert steps == STEPS // 2
