"""Experts and their neurons are removed together, in the order of their costs."""

from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch

from surgeon_engine.api.config.pruning import Structure, Widths
from surgeon_engine.model.experts import hide_removed_experts, inner_states, last_weight
from surgeon_engine.model.layers import ExpertsLayer
from surgeon_engine.pruning.measure_curvature import measure
from surgeon_engine.shots import selection
from surgeon_engine.shots.compaction_step import compact_state, full_size_model
from surgeon_engine.shots.selection import (
    cheapest_of,
    costs_of,
    remove,
    without_large_steps,
)
from surgeon_engine.shots.shot import keep_routing, run_shot
from surgeon_engine.shots.steps import ShotPlan
from tests.helpers.pruned_models import logits
from tests.helpers.pruning_states import make_state, silent_context
from tests.helpers.tiny_models import MIXTURES
from tests.helpers.units import factors_of, no_removals, random_measurement


def state_of(family="qwen3_moe", **settings):
    state = make_state(family, structure=Structure.EXPERTS_AND_NEURONS, **settings)
    hide_removed_experts(state.loaded.model)
    return state


def experts_of(state):
    return [x for x in state.loaded.layers if isinstance(x, ExpertsLayer)]


def expert_step(state):
    """Return the most weights of a step that removes experts."""
    steps = [x.rows * x.experts.classes for x in experts_of(state)]
    return sum(steps) if state.config.pruning.has_same_widths else max(steps)


@pytest.mark.slow
@pytest.mark.parametrize("widths", Widths)
@pytest.mark.parametrize("family", MIXTURES)
def test_model_computes_the_same_without_removed_experts_and_neurons(family, widths):
    state = state_of(family, sparsity=0.5, shots=2, widths=widths)
    before, step = state.goal.prunable, expert_step(state)
    for number, share in ((1, 0.5), (2, 1.0)):
        shot = run_shot(state, ShotPlan(number, share, None), silent_context())
        masked = logits(state.loaded.model)
        compact_state(state)
        torch.testing.assert_close(
            logits(state.loaded.model), masked, atol=1e-4, rtol=0
        )
    left = sum(x.weights for x in state.loaded.layers)
    removed = sum(x.removed for x in shot.layers)
    assert removed == before - left <= state.goal.removed
    assert removed > state.goal.removed - step  # or one more would fit
    blocks = [x for x in shot.layers if x.neurons is not None]
    if family == "qwen3_moe":
        assert any(x.groups.kept < x.groups.of for x in blocks)
    assert any(x.neurons.kept < x.neurons.of for x in blocks)
    for layer, found in zip(experts_of(state), blocks, strict=True):
        assert layer.columns == found.groups.kept
        assert layer.neurons == found.neurons.kept
    if widths is Widths.SAME:
        assert len({(x.groups.kept, x.neurons.kept) for x in blocks}) == 1
    whole = full_size_model(state).loaded.model
    torch.testing.assert_close(logits(whole), masked, atol=1e-4, rtol=0)


def test_order_of_neurons_changes_nothing():
    state = state_of()
    assert all(x.all_weights == x.measured.weights for x in state.units)
    before = logits(state.loaded.model)
    layer, generator = experts_of(state)[0], torch.Generator().manual_seed(0)
    weights = layer.module.down_proj.clone()
    order = torch.stack([torch.randperm(24, generator=generator) for _ in range(8)])
    layer.sort_neurons(order)
    for expert, of_expert in enumerate(order):
        expected = weights[expert][:, of_expert]
        assert torch.equal(layer.module.down_proj[expert], expected)
    torch.testing.assert_close(logits(state.loaded.model), before, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_each_expert_loses_its_cheapest_neurons():
    state = state_of(sparsity=0.4)
    factors = measure(state, state.windows.calibration, silent_context())
    layer = experts_of(state)[0]
    costs = factors[layer.name].neuron_costs()
    before = layer.module.down_proj.clone()
    run_shot(state, ShotPlan(1, 1.0, None), silent_context())
    removed = state.removed[layer.name]
    count = int(removed[8:].sum())
    assert 0 < count < 24
    for expert in (~removed[:8]).nonzero().flatten().tolist():
        kept = costs[expert].argsort(descending=True)[: 24 - count]
        weight = last_weight(layer.module, expert)
        assert torch.equal(weight[:, : 24 - count], before[expert][:, kept])
        assert not weight[:, 24 - count :].any()
        states = torch.randn(5, weight.shape[0])
        assert not inner_states(layer.module, expert, states)[:, 24 - count :].any()


def test_blocks_that_lose_no_neurons_keep_their_order(monkeypatch):
    state, visited = state_of(), []
    factors = measure(state, state.windows.calibration, silent_context())
    monkeypatch.setattr(
        selection,
        "on_device",
        lambda block, *, changes: nullcontext(visited.append(block)),
    )
    first, second = experts_of(state)
    names = ("gate_up_proj", "down_proj")
    selected = {unit.measured.name: no_removals(unit) for unit in state.units}

    def changed() -> list[tuple[int, int]]:
        """Remove the selected groups; return the experts whose numbers changed."""
        layers = [(x, name) for x in (first, second) for name in names]
        before = [getattr(x.module, name).clone() for x, name in layers]
        visited.clear()
        wanted = {name: x.clone() for name, x in selected.items()}
        removed = remove(state, factors, state.config.pruning, wanted)
        state.record_removed(removed)
        return [
            (x.block, expert)
            for (x, name), old in zip(layers, before, strict=True)
            for expert in range(8)
            if not torch.equal(getattr(x.module, name)[expert], old[expert])
        ]

    assert not changed()
    assert not visited
    selected[second.name][3] = True
    assert changed() == [(1, 3)] * 2
    assert visited == [state.loaded.blocks[1]]
    selected[first.name][-4:] = True
    assert set(changed()) == {(0, expert) for expert in range(8)}
    selected[first.name][5] = True  # beside neurons that were removed before
    assert changed() == [(0, 5)] * 2


@pytest.mark.parametrize("multiple", [8, 16])
def test_steps_are_those_of_a_search_for_the_cheapest(multiple):
    """Compare with costs that are added up anew for every step."""
    state = state_of(width_multiple=multiple)
    unit = state.units[0]
    measured = random_measurement(unit)
    pruning = state.config.pruning
    removals = unit.removals(measured, no_removals(unit), pruning)
    of_experts = measured.column_costs()
    neurons = measured.neuron_costs().sort(dim=1).values
    order = of_experts.argsort().tolist()
    each, rest = unit.measured.weights_per_neuron, unit.measured.rows
    rest -= 24 * each
    found = [
        (int(candidate), float(cost), int(weights))
        for candidate, cost, weights in zip(
            removals.candidate, removals.cost, removals.weights, strict=True
        )
        if weights
    ]
    e = n = total = 0
    for candidate, cost, weights in found:
        left = order[e:]
        size = (24 - n) % multiple or multiple
        options = []
        if len(left) > 2:  # a token uses two
            options.append((of_experts[order[e]] / (rest + (24 - n) * each), order[e]))
        if n + size <= 24 - multiple:
            raw = neurons[left, n : n + size].sum()
            options.append((raw / (len(left) * size * each), 8 + 23 - n))
        expected, chosen = min(options)
        assert candidate == chosen
        assert cost >= float(expected) * (1 - 1e-9)
        if candidate < 8:
            assert weights == rest + (24 - n) * each
            e += 1
        else:
            assert weights == len(left) * size * each
            n += size
        total += weights
    assert (e, n) == (6, 24 - multiple)
    assert all(one[1] <= two[1] for one, two in pairwise(found))


@pytest.mark.parametrize(
    ("widths", "sparsity"), [(Widths.FREE, 0.3), (Widths.SAME, 0.25)]
)
def test_experts_fill_what_a_large_step_of_neurons_leaves(widths, sparsity):
    state = state_of(sparsity=sparsity, width_multiple=16, widths=widths)
    pruning, budget = state.config.pruning, state.goal.removed
    factors = measure(state, state.windows.calibration, silent_context())
    costs = costs_of(state, factors, pruning)
    step = expert_step(state)
    before = cheapest_of(state.units, costs, pruning, budget)
    smaller = without_large_steps(state.units, costs, pruning, budget)
    after = cheapest_of(state.units, smaller, pruning, budget)
    assert before.weights < budget - step  # or the test would show nothing
    assert budget - step < after.weights <= budget
    for name, removed in before.removed.items():
        assert bool(after.removed[name][removed].all())


@pytest.mark.parametrize("sparsity", [0.19, 0.2, 0.52])
def test_experts_fill_what_later_steps_of_neurons_leave(sparsity):
    """Reach the neurons of another block after the first block is limited."""
    state = state_of(sparsity=sparsity)
    pruning, budget = state.config.pruning, state.goal.removed
    factors = factors_of(state.units)
    for scale, measured in zip((0.1, 0.13), factors.values(), strict=True):
        measured.neurons.mul_(scale)
    costs = costs_of(state, factors, pruning)
    smaller = without_large_steps(state.units, costs, pruning, budget)
    after = cheapest_of(state.units, smaller, pruning, budget)
    assert budget - expert_step(state) < after.weights <= budget


def test_routing_is_that_of_the_experts():
    state = state_of()
    factors = measure(state, state.windows.calibration, silent_context())
    assert all(
        len(x.candidate) > 8
        for x in costs_of(state, factors, state.config.pruning).values()
    )
    keep_routing(state, factors, state.config.pruning, silent_context())
    assert all(len(x.costs) == len(x.kept) == 8 for x in state.routing.values())
