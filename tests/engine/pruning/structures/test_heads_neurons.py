"""Heads and neurons: weights, costs and updates of groups; bundles of neurons."""

import pytest
import torch

from surgeon_engine.api.config.pruning import CostBasis, Coupling, Method, Structure
from surgeon_engine.curvature.measured import KroneckerFactors
from surgeon_engine.model.coupling import structure_support
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.pruning.threshold import cheapest
from surgeon_engine.runtime.linalg import damped
from tests.helpers.configs import DENSE_COUPLED
from tests.helpers.pairs import others_later, pairs
from tests.helpers.tensors import SmallLayer, best_weight_dense, removal_cost_dense
from tests.helpers.tiny_models import (
    COUPLED_FAMILIES,
    EVERY_FAMILY,
    NEURON_FAMILIES,
    REPRESENTATIVES,
    VOCABULARY,
    tiny_model,
)
from tests.helpers.units import (
    DAMPING,
    assert_selection_becomes_zeros,
    no_removals,
    pruning,
    random_factors,
    removable,
    removals_of,
    units,
    write,
)

BOTH = Structure.HEADS_AND_NEURONS
each_family = pytest.mark.parametrize("family", COUPLED_FAMILIES)


@pytest.mark.parametrize(
    ("family", "share"), pairs(["llama", *COUPLED_FAMILIES], [0.1, 0.5, 1.0])
)
def test_weights_counted_as_removed_are_the_zeros_of_the_updated_model(family, share):
    settings = pruning(BOTH)
    left = assert_selection_becomes_zeros(units(family, settings), settings, share)
    assert share < 1.0 or left == 0  # everything that counts as removable is


@pytest.mark.parametrize("structure", DENSE_COUPLED)
def test_one_head_and_one_neuron_of_each_block_are_kept(structure):
    settings = pruning(structure)
    for unit in units("llama", settings):
        removals = unit.removals(
            random_factors(unit.measured), no_removals(unit), settings
        )
        assert len(removals.candidate.unique()) == unit.candidates - 1
        assert removals.weights.sum() == removable(unit, settings)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "opt", "falcon", "qwen3"])
def test_costs_and_updates_match_the_dense_definition(family):
    settings = pruning(BOTH, cost_basis=CostBasis.RAW)
    for unit in units(family, settings):
        layer, factors = unit.measured, random_factors(unit.measured)
        dense = SmallLayer(
            layer.weight().double(),
            damped(factors.A.double(), DAMPING),
            factors.G.double(),
        )
        removals = unit.removals(factors, no_removals(unit), settings)
        size = layer.columns // unit.candidates
        dearest = zip(removals.candidate[-4:], removals.cost[-4:], strict=True)
        for group, cost in dearest:
            Q = dense.index[:, group * size : (group + 1) * size].flatten()
            expected = removal_cost_dense(dense, Q)
            torch.testing.assert_close(cost, expected, rtol=1e-4, atol=0)
        removed = removals_of(unit, 1)
        is_removed = torch.zeros_like(dense.W, dtype=torch.bool)
        is_removed[:, size : 2 * size] = True
        X, _ = unit.updated(factors, no_removals(unit), removed, settings)
        best = best_weight_dense(dense, is_removed)
        torch.testing.assert_close(X.double(), best, rtol=1e-3, atol=1e-5)
        (consumer, _), *producers = unit.zeros(removed)
        assert consumer is layer
        owners = {p.layer: p.group_of_row for p in unit.coupled.producers}
        assert [producer for producer, _ in producers] == list(owners)
        for producer, zeros in producers:
            owned = (owners[producer] == 1).unsqueeze(1)
            assert torch.equal(zeros, owned.expand_as(producer.weight()))


def test_costs_per_parameter_are_raw_costs_over_the_removed_weights():
    for unit in units("llama", pruning(BOTH)):
        factors = random_factors(unit.measured)
        raw, each = (
            unit.removals(factors, no_removals(unit), pruning(BOTH, cost_basis=basis))
            for basis in (CostBasis.RAW, CostBasis.PER_PARAMETER)
        )
        torch.testing.assert_close(each.cost * each.weights, raw.cost)


@each_family
def test_removed_groups_come_first(family):
    settings = pruning(BOTH)
    for unit in units(family, settings):
        removals = unit.removals(
            random_factors(unit.measured), removals_of(unit, 1), settings
        )
        assert removals.candidate[0] == 1
        assert removals.cost[0] == -torch.inf
        assert (removals.cost[1:] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_later_shot_finds_the_best_weight_given_earlier_removals(family):
    """Costs and update are as in a model without the earlier removals."""
    settings = pruning(BOTH, cost_basis=CostBasis.RAW)
    for unit in units(family, settings):
        if unit.candidates < 3:
            continue
        layer, factors = unit.measured, random_factors(unit.measured)
        before = removals_of(unit, 0)
        write(unit, unit.updated(factors, no_removals(unit), before, settings))
        W, size = layer.weight().double(), layer.columns // unit.candidates
        A = factors.A.double()[size:, size:]
        smaller = SmallLayer(W[:, size:], damped(A, DAMPING), factors.G.double())
        removals = unit.removals(factors, before, settings)
        cost = dict(
            zip(removals.candidate.tolist(), removals.cost.tolist(), strict=True)
        )
        for group in set(cost) - {0}:
            Q = smaller.index[:, (group - 1) * size : group * size].flatten()
            assert cost[group] == pytest.approx(
                float(removal_cost_dense(smaller, Q)), rel=1e-4
            )
        after = before | removals_of(unit, 2)
        X, _ = unit.updated(factors, before, after, settings)
        kept = X[:, size:].double()
        torch.testing.assert_close(
            kept, best_weight_dense(smaller, kept == 0), rtol=1e-3, atol=1e-5
        )
        assert (X[:, :size] == 0).all()


@pytest.mark.parametrize(
    "family", others_later(EVERY_FAMILY, [*REPRESENTATIVES, *NEURON_FAMILIES])
)
def test_unread_group_costs_nothing_and_changes_no_logit(family):
    model = tiny_model(family)
    support = {item.structure: item.supported for item in structure_support(model)}
    settings = pruning(BOTH if support[BOTH] else Structure.NEURONS)
    text = torch.arange(20).view(1, -1) % VOCABULARY
    for unit in units_of(settings, model):
        layer, factors = unit.measured, random_factors(unit.measured)
        size, W = layer.columns // unit.candidates, layer.weight()
        W[:, size : 2 * size] = 0
        layer.write(W)
        before = model(text).logits
        removals = unit.removals(factors, no_removals(unit), settings)
        assert removals.candidate[0] == 1
        assert removals.cost[0] == 0
        assert (removals.cost[1:] > 0).all()
        write(
            unit,
            unit.updated(factors, no_removals(unit), removals_of(unit, 1), settings),
        )
        torch.testing.assert_close(model(text).logits, before, rtol=0, atol=1e-6)


def neuron_unit(settings):
    return next(
        unit
        for unit in units("llama", settings)
        if unit.coupled.kind is Coupling.NEURONS
    )


@pytest.mark.parametrize("removed", [0, 3, 8])
@pytest.mark.parametrize("basis", CostBasis)
def test_neurons_of_a_bundle_share_its_cost_and_keep_the_width_a_multiple(
    removed, basis
):
    settings = pruning(BOTH, width_multiple=8, cost_basis=basis)
    unit = neuron_unit(settings)  # 24 neurons
    factors, before = random_factors(unit.measured), removals_of(unit, *range(removed))
    single = pruning(BOTH, cost_basis=basis)
    alone = unit.removals(factors, before, single).cost[removed:]
    removals = unit.removals(factors, before, settings)
    assert removals.candidate[:removed].tolist() == list(range(removed))
    each = unit.coupled.weights_per_group
    width, begun = unit.candidates - removed, removed
    while begun < len(removals.cost):
        size = width % 8 or 8
        bundle = removals.cost[begun : begun + size]
        members = alone[begun - removed : begun - removed + size]
        expected = members.sum() if basis is CostBasis.RAW else members.mean()
        torch.testing.assert_close(bundle, expected.expand(size))
        weights = removals.weights[begun : begun + size].tolist()
        assert weights == [each * size] + [0] * (size - 1)
        begun, width = begun + size, width - size
    assert width == 8  # the last bundle is kept
    assert removals.weights.sum() == each * 16 == removable(unit, settings)


@pytest.mark.parametrize("budget", [15, 16, 17, 31, 32, 40])
def test_bundle_is_never_split(budget):
    """All costs are equal."""
    settings = pruning(BOTH, width_multiple=8)
    parts = units("llama", settings)
    neurons = [unit for unit in parts if unit.coupled.kind is Coupling.NEURONS]
    each = neurons[0].coupled.weights_per_group
    lists = {}
    for unit in neurons:
        unit.measured.write(torch.ones_like(unit.measured.weight()))
        factors = random_factors(unit.measured)
        factors.A.copy_(torch.eye(24))
        lists[unit.measured.name] = unit.removals(factors, no_removals(unit), settings)
        lists[unit.measured.name].cost.fill_(1.0)
    budget = min(budget, 32)
    selection = cheapest(lists, budget * each)
    counts = [int(mask.sum()) for mask in selection.removed.values()]
    assert sum(counts) == budget // 8 * 8 == selection.weights // each
    assert all(count % 8 == 0 for count in counts)


@pytest.mark.parametrize("multiple", [5, 7, 10, 11])
@pytest.mark.parametrize("alike", [0.1, 0.3, 1 / 3])
def test_bundles_of_equal_costs_are_removed_in_order(multiple, alike):
    """The mean of equal numbers may be rounded up."""
    settings = pruning(
        Structure.NEURONS, width_multiple=multiple, method=Method.MAGNITUDE
    )
    unit = units("llama", settings)[0]
    unit.measured.write(torch.full_like(unit.measured.weight(), alike))
    found = unit.removals(KroneckerFactors(), no_removals(unit), settings)
    for budget in range(24):
        one = {unit.measured.name: found}
        limit = min(budget * unit.coupled.weights_per_group, removable(unit, settings))
        (mask,) = cheapest(one, limit).removed.values()
        removed = int(mask.sum())
        assert removed == 0 or (24 - removed) % multiple == 0


def test_heads_are_not_bundled():
    single, bundled = pruning(BOTH), pruning(BOTH, width_multiple=8)
    for unit in units("opt", single):
        if unit.coupled.kind is Coupling.HEADS:
            factors = random_factors(unit.measured)
            one, other = (
                unit.removals(factors, no_removals(unit), settings)
                for settings in (single, bundled)
            )
            assert torch.equal(one.cost, other.cost)
            assert torch.equal(one.weights, other.weights)


@pytest.mark.parametrize(
    ("min_density", "multiple", "left"),
    [
        (0.0, 1, 1),
        (0.5, 1, 12),
        (0.51, 1, 13),
        (0.5, 8, 16),
        (1.0, 8, 24),
        (0.0, 64, 24),
    ],
)
def test_minimum_width_is_kept_and_is_a_multiple(min_density, multiple, left):
    settings = pruning(BOTH, min_density=min_density, width_multiple=multiple)
    unit = neuron_unit(settings)
    removals = unit.removals(random_factors(unit.measured), no_removals(unit), settings)
    assert unit.candidates - len(removals.candidate) == left
    each = unit.coupled.weights_per_group
    assert removable(unit, settings) == (24 - left) * each == removals.weights.sum()


def test_removed_groups_are_not_restored_for_a_larger_minimum_share():
    settings = pruning(BOTH, min_density=0.9)
    unit = neuron_unit(settings)
    before = removals_of(unit, *range(10))
    removals = unit.removals(random_factors(unit.measured), before, settings)
    assert sorted(removals.candidate.tolist()) == list(range(10))
