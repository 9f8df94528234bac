"""Rows and columns, heads and neurons: what each removal takes, costs and changes."""

from __future__ import annotations

import pytest
import torch

from surgeon_engine.config import CostBasis, PruningConfig, Structure, UpdateKind
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.errors import PruningError
from surgeon_engine.linalg import damped
from surgeon_engine.model.coupling import coupled_groups
from surgeon_engine.model.layers import find_blocks, prunable_layers
from surgeon_engine.pruning.structures import units_of
from surgeon_engine.pruning.threshold import cheapest
from tests.helpers.tensors import SmallLayer, best_weight_dense, removal_cost_dense
from tests.helpers.tiny_models import COUPLED_FAMILIES, tiny_model

DAMPING = 0.05


def pruning(**settings) -> PruningConfig:
    settings = {"cost_damping": DAMPING, "update_damping": DAMPING} | settings
    return PruningConfig(**settings)


def random_factors(layer, seed: int = 0) -> KroneckerFactors:
    g = torch.Generator().manual_seed(seed)
    width = layer.columns + layer.has_bias
    a = torch.randn(3 * width, width, generator=g)
    dy = torch.randn(3 * layer.rows, layer.rows, generator=g)
    return KroneckerFactors(A=a.T @ a / len(a), G=dy.T @ dy / len(dy))


def units(family: str, structure: Structure):
    model = tiny_model(family)
    return units_of(structure, find_blocks(model), prunable_layers(model))


def nothing(unit) -> torch.Tensor:
    return torch.zeros(unit.candidates, dtype=torch.bool)


CASES = [(family, structure) for family in COUPLED_FAMILIES for structure in Structure]


@pytest.mark.parametrize(("family", "structure"), CASES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_weights_counted_as_removed_are_the_zeros_of_the_updated_model(
    family, structure, share
):
    parts = units(family, structure)
    factors = {unit.measured.name: random_factors(unit.measured) for unit in parts}
    lists = {
        unit.measured.name: unit.removals(
            factors[unit.measured.name], nothing(unit), pruning()
        )
        for unit in parts
    }
    total = sum(int(removals.weights.sum()) for removals in lists.values())
    selection = cheapest(lists, int(share * total))
    counted = zeros = 0
    for unit in parts:
        name = unit.measured.name
        gone = selection.removed[name]
        for layer, W in unit.updated(factors[name], nothing(unit), gone, pruning()):
            layer.write(W)
        for layer, count in unit.removed_weights(gone):
            counted += count
            zeros += int((layer.weight() == 0).sum())
            assert int((layer.weight() == 0).sum()) == count, layer.name
    assert counted == zeros == selection.weights


@pytest.mark.parametrize(("family", "structure"), CASES)
def test_something_always_stays(family, structure):
    for unit in units(family, structure):
        removals = unit.removals(
            random_factors(unit.measured), nothing(unit), pruning()
        )
        gone = nothing(unit)
        gone[removals.candidate] = True
        for layer, count in unit.removed_weights(gone):
            assert count < layer.weights


@pytest.mark.parametrize(("family", "structure"), CASES)
def test_what_is_gone_comes_first(family, structure):
    for unit in units(family, structure):
        gone = nothing(unit)
        gone[0] = True
        removals = unit.removals(random_factors(unit.measured), gone, pruning())
        assert removals.candidate[0] == 0
        assert removals.cost[0] == -torch.inf


def test_costs_per_parameter_are_raw_costs_over_the_weights_that_go():
    for unit in units("llama", Structure.HEADS_AND_NEURONS):
        factors = random_factors(unit.measured)
        raw = unit.removals(factors, nothing(unit), pruning(cost_basis=CostBasis.RAW))
        each = unit.removals(factors, nothing(unit), pruning())
        torch.testing.assert_close(each.cost * each.weights, raw.cost)


@pytest.mark.parametrize("family", COUPLED_FAMILIES)
def test_a_group_is_what_only_its_columns_read(family):
    """Zeroing a group's producers alone changes the model as much as all of it does."""
    model = tiny_model(family)
    groups = coupled_groups(find_blocks(model), prunable_layers(model))
    assert len(groups) == 4  # attention and MLP of two blocks
    tokens = torch.arange(20).view(1, -1)
    for coupled in groups:
        expected = None
        size = coupled.consumer.columns // coupled.groups
        for parts in ((coupled.consumer,), coupled.producers):
            kept = {layer: layer.weight() for layer in parts}
            for layer, W in kept.items():
                changed = W.clone()
                if layer is coupled.consumer:
                    changed[:, size : 2 * size] = 0
                else:
                    rows = layer.rows // coupled.groups
                    changed[rows : 2 * rows] = 0
                layer.write(changed)
            logits = model(tokens).logits
            for layer, W in kept.items():
                layer.write(W)
            assert not torch.equal(logits, model(tokens).logits)
            if expected is None:
                expected = logits
            torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", COUPLED_FAMILIES)
def test_coupled_costs_and_updates_match_the_dense_definition(family):
    for unit in units(family, Structure.HEADS_AND_NEURONS):
        layer, factors = unit.measured, random_factors(unit.measured)
        dense = SmallLayer(
            layer.weight(), damped(factors.A, DAMPING), factors.G.double()
        )
        removals = unit.removals(
            factors, nothing(unit), pruning(cost_basis=CostBasis.RAW)
        )
        size = layer.columns // unit.candidates
        index = torch.arange(dense.W.numel()).view_as(dense.W)
        for group, cost in zip(removals.candidate, removals.cost, strict=True):
            Q = index[:, group * size : (group + 1) * size].flatten()
            torch.testing.assert_close(cost, removal_cost_dense(dense, Q))
        gone = nothing(unit)
        gone[1] = True
        is_removed = torch.zeros_like(dense.W, dtype=torch.bool)
        is_removed[:, size : 2 * size] = True
        (_, X), *producers = unit.updated(factors, nothing(unit), gone, pruning())
        torch.testing.assert_close(
            X, best_weight_dense(dense, is_removed), rtol=0, atol=1e-8
        )
        for producer, V in producers:
            kept = producer.weight()
            kept[unit._spread(gone, producer.rows)] = 0
            assert torch.equal(V, kept)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_row_and_column_costs_match_the_dense_definition(family):
    for unit in units(family, Structure.ROWS_AND_COLUMNS)[:4]:
        layer, factors = unit.measured, random_factors(unit.measured)
        A, G = factors.A, factors.G
        rows = SmallLayer(layer.weight(), A.double(), damped(G, DAMPING))
        columns = SmallLayer(layer.weight(), damped(A, DAMPING), G.double())
        removals = unit.removals(
            factors, nothing(unit), pruning(cost_basis=CostBasis.RAW)
        )
        index = torch.arange(rows.W.numel()).view_as(rows.W)
        for candidate, cost in zip(removals.candidate, removals.cost, strict=True):
            if candidate < layer.rows:
                expected = removal_cost_dense(rows, index[candidate])
            else:
                expected = removal_cost_dense(columns, index[:, candidate - layer.rows])
            torch.testing.assert_close(cost, expected)


@pytest.mark.parametrize("update", UpdateKind)
def test_a_bias_is_updated_and_goes_with_its_row_alone(update):
    unit = units("opt", Structure.ROWS_AND_COLUMNS)[0]
    layer, factors = unit.measured, random_factors(unit.measured)
    gone = nothing(unit)
    gone[2] = gone[layer.rows + 5] = True
    ((_, X),) = unit.updated(factors, nothing(unit), gone, pruning(update=update))
    before = layer.weight()
    assert (X[2] == 0).all()
    assert (X[:, 5] == 0).all()
    kept = torch.arange(layer.rows) != 2
    assert (X[kept, -1] != 0).all()
    assert not torch.allclose(X[kept, -1], before[kept, -1])


def test_a_family_whose_heads_are_not_known_is_refused_with_the_reason():
    with pytest.raises(PruningError, match="query_key_value"):
        units("gpt_neox", Structure.HEADS_AND_NEURONS)


@pytest.mark.parametrize(("family", "structure"), CASES)
def test_a_later_shot_finds_the_best_weight_given_what_is_gone(family, structure):
    """Costs and update are those of a model that never had what went before."""
    for unit in units(family, structure)[:4]:
        layer, factors = unit.measured, random_factors(unit.measured)
        before = nothing(unit)
        before[[0, unit.candidates - 1]] = True
        for changed, W in unit.updated(factors, nothing(unit), before, pruning()):
            changed.write(W)
        after = before.clone()
        after[1] = True

        W = layer.weight()
        stays = W != 0
        rows, columns = stays.any(dim=1), stays.any(dim=0)
        smaller = SmallLayer(
            W[rows][:, columns],
            damped(factors.A.double()[columns][:, columns], DAMPING),
            damped(factors.G.double()[rows][:, rows], DAMPING),
        )
        (_, X), *_ = unit.updated(factors, before, after, pruning())
        kept = X[rows][:, columns]
        torch.testing.assert_close(
            kept, best_weight_dense(smaller, kept == 0), rtol=0, atol=1e-8
        )
        assert (X[~stays] == 0).all()


def test_in_a_later_shot_cost_per_parameter_counts_what_is_left():
    unit = units("llama", Structure.ROWS_AND_COLUMNS)[0]
    layer, factors = unit.measured, random_factors(unit.measured)
    before = nothing(unit)
    before[[0, layer.rows, layer.rows + 1]] = True  # one row and two columns
    costs = {}
    for basis in CostBasis:
        removals = unit.removals(factors, before, pruning(cost_basis=basis))
        costs[basis] = dict(
            zip(removals.candidate.tolist(), removals.cost.tolist(), strict=True)
        )
    row, column = 1, layer.rows + 2
    ratio = {
        candidate: costs[CostBasis.RAW][candidate]
        / costs[CostBasis.PER_PARAMETER][candidate]
        for candidate in (row, column)
        if candidate in costs[CostBasis.RAW]
    }
    expected = {row: layer.columns - 2, column: layer.rows - 1}
    assert ratio == pytest.approx({key: expected[key] for key in ratio})
    assert ratio
