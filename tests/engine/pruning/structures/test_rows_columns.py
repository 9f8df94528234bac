"""Rows and columns of a layer: weights, costs and updates of removals."""

from itertools import cycle, product

import pytest
import torch

from surgeon_engine.api.config.pruning import BY_LAYER, CostBasis, Structure, UpdateKind
from surgeon_engine.runtime.linalg import damped
from tests.helpers.tensors import SmallLayer, best_weight_dense, removal_cost_dense
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

FAMILIES = ("llama", "opt", "gpt2", "falcon")
BOTH = Structure.ROWS_AND_COLUMNS
each_case = pytest.mark.parametrize(
    ("family", "structure"), [(f, s) for f in FAMILIES for s in BY_LAYER]
)


@pytest.mark.parametrize(
    ("family", "structure", "share"),
    [
        (*case, share)
        for case, share in zip(
            product(FAMILIES, BY_LAYER), cycle([0.1, 0.5, 0.9, 0.5]), strict=False
        )
    ],
)
def test_weights_counted_as_removed_are_the_zeros_of_the_updated_model(
    family, structure, share
):
    settings = pruning(structure)
    assert_selection_becomes_zeros(units(family, settings), settings, share)


@each_case
@pytest.mark.parametrize("min_density", [0.0, 0.6])
def test_removable_weights_equal_the_planned_maximum(family, structure, min_density):
    settings = pruning(structure, min_density=min_density)
    for unit in units(family, settings):
        removals = unit.removals(
            random_factors(unit.measured), no_removals(unit), settings
        )
        total = int(removals.weights.sum())
        largest = max(unit.measured.rows, unit.measured.columns + 1)
        if structure is not BOTH or not min_density:
            largest = 0
        promised = removable(unit, settings)
        assert promised <= total <= promised + 2 * largest
        assert unit.measured.weights - total >= min_density * unit.measured.weights


@each_case
def test_only_candidates_of_the_structure_are_removable_and_the_last_is_kept(
    family, structure
):
    settings = pruning(structure)
    for unit in units(family, settings):
        removals = unit.removals(
            random_factors(unit.measured), no_removals(unit), settings
        )
        is_row = removals.candidate < unit.measured.rows
        rows = 0 if structure is Structure.COLUMNS else unit.measured.rows - 1
        columns = 0 if structure is Structure.ROWS else unit.measured.columns - 1
        assert int(is_row.sum()) == rows
        assert int((~is_row).sum()) == columns
        assert len(removals.candidate.unique()) == len(removals.candidate)
        assert (removals.cost.diff() >= 0).all()


@each_case
def test_removed_candidates_come_first(family, structure):
    settings = pruning(structure)
    for unit in units(family, settings):
        removed = 0 if structure is Structure.ROWS else unit.measured.rows
        removals = unit.removals(
            random_factors(unit.measured), removals_of(unit, removed), settings
        )
        assert removals.candidate[0] == removed
        assert removals.cost[0] == -torch.inf
        assert (removals.cost[1:] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_costs_match_the_dense_definition(family):
    settings = pruning(BOTH, cost_basis=CostBasis.RAW)
    for unit in units(family, settings)[:4]:
        layer, factors = unit.measured, random_factors(unit.measured)
        A, G, W = factors.A.double(), factors.G.double(), layer.weight().double()
        rows = SmallLayer(W, A, damped(G, DAMPING))
        columns = SmallLayer(W, damped(A, DAMPING), G)
        removals = unit.removals(factors, no_removals(unit), settings)
        for candidate, cost in zip(removals.candidate, removals.cost, strict=True):
            if candidate < layer.rows:
                expected = removal_cost_dense(rows, rows.index[candidate])
            else:
                column = columns.index[:, candidate - layer.rows]
                expected = removal_cost_dense(columns, column)
            torch.testing.assert_close(cost, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("update", UpdateKind)
def test_bias_is_updated_and_removed_with_its_row_alone(update):
    settings = pruning(BOTH, update=update)
    unit = units("opt", settings)[0]
    layer, factors = unit.measured, random_factors(unit.measured)
    before = layer.weight()
    removed = removals_of(unit, 2, layer.rows + 5)
    X, _ = unit.updated(factors, no_removals(unit), removed, settings)
    assert (X[2] == 0).all()
    assert (X[:, 5] == 0).all()
    kept = torch.arange(layer.rows) != 2
    assert (X[kept, -1] != 0).all()
    assert not torch.isclose(X[kept, -1], before[kept, -1]).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_later_shot_finds_the_best_weight_given_earlier_removals(family):
    """Costs and update are as in a model without the earlier removals."""
    settings = pruning(BOTH)
    for unit in units(family, settings)[:4]:
        layer, factors = unit.measured, random_factors(unit.measured)
        before = removals_of(unit, 0, unit.candidates - 1)
        write(unit, unit.updated(factors, no_removals(unit), before, settings))
        W = layer.weight().double()
        is_kept = W != 0
        rows, columns = is_kept.any(dim=1), is_kept.any(dim=0)
        smaller = SmallLayer(
            W[rows][:, columns],
            damped(factors.A.double()[columns][:, columns], DAMPING),
            damped(factors.G.double()[rows][:, rows], DAMPING),
        )
        after = before | removals_of(unit, 1, layer.rows + 2)
        X, _ = unit.updated(factors, before, after, settings)
        kept = X[rows][:, columns].double()
        torch.testing.assert_close(
            kept, best_weight_dense(smaller, kept == 0), rtol=1e-3, atol=1e-5
        )
        assert (X[~is_kept] == 0).all()


def test_cost_per_parameter_in_a_later_shot_counts_the_remaining_weights():
    costs = {}
    for basis in CostBasis:
        settings = pruning(BOTH, cost_basis=basis)
        unit = units("llama", settings)[0]
        layer = unit.measured
        before = removals_of(
            unit, 0, layer.rows, layer.rows + 1
        )  # a row and two columns
        removals = unit.removals(random_factors(layer), before, settings)
        costs[basis] = dict(
            zip(removals.candidate.tolist(), removals.cost.tolist(), strict=True)
        )
    removed = {0, layer.rows, layer.rows + 1}
    shared = set(costs[CostBasis.RAW]) & set(costs[CostBasis.PER_PARAMETER]) - removed
    assert any(candidate < layer.rows for candidate in shared)
    assert any(candidate >= layer.rows for candidate in shared)
    for candidate in shared:
        ratio = costs[CostBasis.RAW][candidate]
        ratio /= costs[CostBasis.PER_PARAMETER][candidate]
        left = layer.columns - 2 if candidate < layer.rows else layer.rows - 1
        assert ratio == pytest.approx(left)


def test_removed_candidates_are_not_restored_for_a_larger_minimum_share():
    settings = pruning(BOTH, min_density=0.95)
    unit = units("llama", settings)[0]
    before = removals_of(unit, 0, 1, 2)
    removals = unit.removals(random_factors(unit.measured), before, settings)
    assert sorted(removals.candidate.tolist()) == [0, 1, 2]
