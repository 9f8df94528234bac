"""Factors of two parts of the windows, pooled, are those of all windows at once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import surgeon_engine
from surgeon_engine.api.config.pruning import Fisher, Method, Structure
from surgeon_engine.api.messages.run import Stage, StageStarted
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.pruning import state as state_module
from surgeon_engine.pruning.measure_curvature import (
    CurvatureTask,
    measure,
    of_units,
    pool,
)
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.pruning_states import quiet, state_of


def wanted(state, windows):
    return CurvatureTask(list(state.loaded.layers), windows, with_gradient=True)


@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize("first", [1, 5, 6])
def test_pooled_factors_are_those_of_all_windows_at_once(family, first):
    state = state_of(family, 8)
    windows = state.windows.calibration
    one, other, both = (
        measure(state, wanted(state, part), quiet(), 1)
        for part in (windows[:first], windows[first:], windows)
    )
    pool(one, other, share=first / 8)
    assert not other
    assert one.keys() == both.keys()
    for name, expected in both.items():
        for M, N in (
            (one[name].A, expected.A),
            (one[name].G, expected.G),
            (one[name].gradient, expected.gradient),
        ):
            scale = float(N.abs().max())
            torch.testing.assert_close(M, N, rtol=1e-4, atol=1e-5 * scale)


def test_layers_that_share_an_A_go_on_sharing_it():
    state = state_of("llama", 8)
    windows = state.windows.calibration
    one, other = (
        measure(state, wanted(state, part), quiet(), 1)
        for part in (windows[:6], windows[6:])
    )
    shared = {(x, y) for x in one for y in one if one[x].A is one[y].A}
    assert any(x != y for x, y in shared)
    pool(one, other, share=0.75)
    assert shared == {(x, y) for x in one for y in one if one[x].A is one[y].A}


def test_what_was_not_measured_is_not_pooled():
    A = torch.eye(2)
    one = {"a": KroneckerFactors(A), "b": KroneckerFactors()}
    other = {"a": KroneckerFactors(3 * A), "b": KroneckerFactors()}
    pool(one, other, share=0.25)
    assert torch.equal(one["a"].A, 2.5 * torch.eye(2))
    assert one["a"].G is one["a"].gradient is one["b"].A is None


@pytest.mark.parametrize("method", Method)
def test_only_what_a_method_needs_is_measured(method):
    state = state_of("llama", 4, method=method, structure=Structure.ELEMENTS)
    events = []
    context = RunContext("test", lambda envelope: events.append(envelope.event))
    what = of_units(state, state.windows.calibration)
    factors = measure(state, what, context, 1)
    assert factors.keys() == {layer.name for layer in state.loaded.layers}
    has_A = method is not Method.MAGNITUDE
    has_G = method in (Method.LLM_SURGEON, Method.K_OBD)
    for one in factors.values():
        assert (one.A is not None, one.G is not None) == (has_A, has_G)
    assert (StageStarted(Stage.CURVATURE, 1) in events) == has_A


def test_sampled_labels_differ_from_shot_to_shot_but_not_from_run_to_run():
    state = state_of("llama", 4, fisher=Fisher.SAMPLED)
    what = of_units(state, state.windows.calibration)
    one, again, later = (measure(state, what, quiet(), shot) for shot in (1, 1, 2))
    for name in one:
        assert torch.equal(one[name].G, again[name].G)
        assert not torch.equal(one[name].G, later[name].G)


def test_sparsities_count_what_is_gone_of_every_layer():
    state = state_of("llama", 4, structure=Structure.NEURONS)
    unit = state.units[0]
    removed = state.removed[unit.measured.name].clone()
    removed[:5] = True
    state.record_removed(state.removed | {unit.measured.name: removed})
    told = {layer.name: layer.removed for layer in state.sparsities()}
    of_unit = {layer.name for layer in unit.layers}
    assert len(told) == len(state.loaded.layers)
    for name, count in told.items():
        assert count == (5 * 16 if name in of_unit else 0)


ATTRIBUTES = [
    name for name, value in vars(PruningState).items() if isinstance(value, property)
]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attribute_of_a_state_is_read_only(name):
    state = state_of("llama", 4)
    with pytest.raises(AttributeError):
        setattr(state, name, getattr(state, name))


@pytest.mark.parametrize("name", ["removed", "kept", "total_cost"])
def test_mapping_of_a_state_is_read_only(name):
    mapping = getattr(state_of("llama", 4), name)
    with pytest.raises(TypeError):
        mapping["anything"] = None


def test_no_other_module_assigns_what_a_state_stores():
    """The fields behind the properties are assigned in the module of the state alone.

    In other modules only an object itself may assign an attribute of the same name.
    """
    fields = set(vars(state_of("llama", 4)))
    assert {name.removeprefix("_") for name in fields} < set(ATTRIBUTES)
    found = [
        f"{path}:{node.lineno}"
        for path in Path(surgeon_engine.__file__).parent.rglob("*.py")
        if path != Path(state_module.__file__)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and node.attr in fields
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    assert not found


def test_restored_snapshot_undoes_weights_removals_and_costs():
    state = state_of("llama", 4, structure=Structure.NEURONS)
    layer, name = state.units[0].measured, state.units[0].measured.name
    before, W = state.take_snapshot(), layer.weight()
    state.begin_update()
    layer.write(torch.zeros_like(W))
    removed = ~state.removed[name]
    state.record_removed(state.removed | {name: removed})
    state.add_costs({name: 1.5})
    state.add_costs({name: 1.0})
    assert state.is_partially_updated
    assert state.removed[name].all()
    assert state.total_cost == {name: 2.5}
    state.restore(before)
    assert torch.equal(layer.weight(), W)
    assert not state.removed[name].any()
    assert not state.total_cost
    assert not state.is_partially_updated
