"""Factors pooled from two parts of the windows equal those of all windows at once."""

from __future__ import annotations

import pytest
import torch

from surgeon_engine.api.config.pruning import Fisher, Method, Structure
from surgeon_engine.api.messages.run import Stage, StageStarted
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.pruning.measure_curvature import (
    CurvatureTask,
    measure,
    of_units,
    pool,
)
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.pruning_states import make_state, silent_context


def task_of(state, windows):
    return CurvatureTask(list(state.loaded.layers), windows)


@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize("first", [1, 5, 6])
def test_pooled_factors_equal_those_of_all_windows(family, first):
    state = make_state(family, 8)
    windows = state.windows.calibration
    one, other, both = (
        measure(state, task_of(state, part), silent_context(), 1)
        for part in (windows[:first], windows[first:], windows)
    )
    pool(one, other, share=first / 8)
    assert not other
    assert one.keys() == both.keys()
    for name, expected in both.items():
        for M, N in (
            (one[name].A, expected.A),
            (one[name].G, expected.G),
        ):
            scale = float(N.abs().max())
            torch.testing.assert_close(M, N, rtol=1e-4, atol=1e-5 * scale)


def test_layers_still_share_an_A_after_pooling():
    state = make_state("llama", 8)
    windows = state.windows.calibration
    one, other = (
        measure(state, task_of(state, part), silent_context(), 1)
        for part in (windows[:6], windows[6:])
    )
    shared = {(x, y) for x in one for y in one if one[x].A is one[y].A}
    assert any(x != y for x, y in shared)
    pool(one, other, share=0.75)
    assert shared == {(x, y) for x in one for y in one if one[x].A is one[y].A}


def test_factors_that_were_not_measured_are_not_pooled():
    A = torch.eye(2)
    one = {"a": KroneckerFactors(A), "b": KroneckerFactors()}
    other = {"a": KroneckerFactors(3 * A), "b": KroneckerFactors()}
    pool(one, other, share=0.25)
    assert torch.equal(one["a"].A, 2.5 * torch.eye(2))
    assert one["a"].G is one["b"].A is None


@pytest.mark.parametrize("method", Method)
def test_only_factors_that_a_method_needs_are_measured(method):
    state = make_state("llama", 4, method=method, structure=Structure.ELEMENTS)
    events = []
    context = RunContext("test", lambda envelope: events.append(envelope.event))
    task = of_units(state, state.windows.calibration)
    factors = measure(state, task, context, 1)
    assert factors.keys() == {layer.name for layer in state.loaded.layers}
    has_A = method is not Method.MAGNITUDE
    has_G = method in (Method.LLM_SURGEON, Method.K_OBD)
    for one in factors.values():
        if method is Method.FIRST_ORDER:
            assert one.weight_squares is not None
            assert one.rows is one.columns is None
        else:
            assert (one.A is not None, one.G is not None) == (has_A, has_G)
    assert (StageStarted(Stage.CURVATURE, 1) in events) == has_A


@pytest.mark.parametrize("method", [Method.LLM_SURGEON, Method.L_OBD])
def test_factors_are_the_same_where_memory_is_short(method, monkeypatch):
    """They and the inputs of the blocks are in files then."""
    state = make_state("llama", 4, method=method, structure=Structure.ELEMENTS)
    task = of_units(state, state.windows.calibration)
    expected = measure(state, task, silent_context(), 1)
    monkeypatch.setattr(devices, "free_host_memory", lambda: 0)
    found = measure(state, task, silent_context(), 1)
    for name, pair in found.items():
        assert pair.A.untyped_storage().filename is not None
        assert torch.equal(pair.A, expected[name].A)
        if method is Method.LLM_SURGEON:
            assert torch.equal(pair.G, expected[name].G)


def test_sampled_labels_differ_between_shots_but_not_between_runs():
    state = make_state("llama", 4, fisher=Fisher.SAMPLED)
    task = of_units(state, state.windows.calibration)
    one, again, later = (
        measure(state, task, silent_context(), shot) for shot in (1, 1, 2)
    )
    for name in one:
        assert torch.equal(one[name].G, again[name].G)
        assert not torch.equal(one[name].G, later[name].G)
