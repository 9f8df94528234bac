"""A pruning state is changed by its methods alone, and reports its sparsities."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import surgeon_engine
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.model.layers import body_parameters
from surgeon_engine.pruning import state as state_module
from surgeon_engine.pruning.state import PruningState
from tests.helpers.pruning_states import assert_unchanged, make_state, weights


def test_sparsities_count_the_removed_weights_of_every_layer():
    state = make_state("llama", 4, structure=Structure.NEURONS)
    unit = state.units[0]
    removed = state.removed[unit.measured.name].clone()
    removed[:5] = True
    state.record_removed(state.removed | {unit.measured.name: removed})
    counts = {layer.name: layer.removed for layer in state.sparsities()}
    of_unit = {layer.name for layer in unit.layers}
    assert len(counts) == len(state.loaded.layers)
    for name, count in counts.items():
        assert count == (5 * 16 if name in of_unit else 0)


@pytest.mark.parametrize("name", ["removed", "kept", "total_cost"])
def test_mapping_of_a_state_is_read_only(name):
    mapping = getattr(make_state("llama", 4), name)
    with pytest.raises(TypeError):
        mapping["anything"] = None


@pytest.mark.slow
def test_no_other_module_assigns_attributes_of_a_state():
    attributes = {field.name for field in fields(PruningState)}
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in Path(surgeon_engine.__file__).parent.rglob("*.py")
        if path != Path(state_module.__file__)
    }
    found = [
        f"{path}:{node.lineno}"
        for path, text in texts.items()
        if any(f"state.{name}" in text for name in attributes)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and node.attr in attributes
        and ast.unparse(node.value).endswith("state")
    ]
    assert not found


def test_restored_snapshot_undoes_weights_removals_and_costs():
    state = make_state("llama", 4, structure=Structure.NEURONS)
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


@pytest.mark.parametrize("family", ["llama", "opt", "qwen3", "gpt2"])
def test_restored_snapshot_undoes_a_training_of_all_blocks(family):
    state = make_state(family, 4)
    model = state.loaded.model
    before, values = state.take_snapshot(), weights(state)
    with torch.no_grad():
        for parameter in body_parameters(model):
            parameter.add_(1)
    names = {n for n, p in weights(state).items() if not torch.equal(p, values[n])}
    assert any("norm" in name or "ln" in name for name in names)
    assert not any("embed" in name or "head" in name for name in names)
    state.restore(before)
    assert_unchanged(state, values)
