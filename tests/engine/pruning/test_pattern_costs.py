"""N:M: a group costs what its cheapest choice costs, by the dense definition."""

from __future__ import annotations

import itertools

import pytest
import torch

from surgeon_engine.pruning import costs
from surgeon_engine.pruning.costs import (
    Stiffness,
    element_costs,
    pattern_costs,
    ways_to_remove,
)
from tests.helpers.stiffness import KINDS, adapted
from tests.helpers.tensors import make_layer, removal_cost_dense

R = 3
PATTERNS = [(2, 4, 8), (1, 2, 6), (2, 5, 10), (3, 4, 8), (1, 3, 6)]


def choices_dense(layer, dense, r, start, kept, of):
    """Return the costs of all possible removals in one group, by removed columns."""
    return {
        removed: float(
            dense(layer, layer.index[r, [start + offset for offset in removed]])
        )
        for removed in itertools.combinations(range(of), of - kept)
    }


@pytest.mark.parametrize(("stiffness", "dense"), KINDS)
@pytest.mark.parametrize(("kept", "of", "C"), PATTERNS)
def test_cheapest_of_all_ways_is_found(stiffness, dense, kept, of, C):
    layer = make_layer(R, C)
    cost, chosen = pattern_costs(
        layer.W, stiffness(layer.A), stiffness(layer.G), kept, of
    )
    assert cost.shape == chosen.shape == (R, C // of)
    ways = ways_to_remove(kept, of)
    for r in range(R):
        for group in range(C // of):
            each = choices_dense(layer, dense, r, group * of, kept, of)
            best = min(each, key=each.__getitem__)
            assert tuple(ways[chosen[r, group]].tolist()) == best
            assert float(cost[r, group]) == pytest.approx(each[best], rel=1e-9)


def test_joint_cost_is_not_the_sum_of_its_elements():
    layer = make_layer(R, 8)
    of_A, of_G = adapted(layer.A), adapted(layer.G)
    cost, chosen = pattern_costs(layer.W, of_A, of_G, 2, 4)
    alone = element_costs(layer.W, of_A, of_G).unflatten(1, (2, 4))
    sums = alone.gather(2, ways_to_remove(2, 4)[chosen]).sum(dim=2)
    assert not torch.isclose(cost, sums, rtol=1e-3).any()


@pytest.mark.parametrize(("kept", "of"), [(2, 4), (2, 5), (4, 8)])
def test_every_way_to_remove_is_listed_once(kept, of):
    ways = ways_to_remove(kept, of).tolist()
    assert sorted(map(tuple, ways)) == list(
        itertools.combinations(range(of), of - kept)
    )


@pytest.mark.parametrize("C", [10, 11])
def test_columns_beyond_the_last_whole_group_belong_to_none(C):
    layer = make_layer(R, C)
    of_A, of_G = adapted(layer.A), adapted(layer.G)
    cost, _ = pattern_costs(layer.W, of_A, of_G, 2, 4)
    assert cost.shape == (R, 2)
    each = choices_dense(layer, removal_cost_dense, 0, 4, 2, 4)
    assert float(cost[0, 1]) == pytest.approx(min(each.values()))


def test_rows_processed_a_few_at_a_time_cost_the_same(monkeypatch):
    layer = make_layer(R, 8)
    arguments = (layer.W, adapted(layer.A), adapted(layer.G), 2, 4)
    cost, chosen = pattern_costs(*arguments)
    monkeypatch.setattr(costs, "_MAX_GATHERED", 1)
    fewer_cost, fewer_chosen = pattern_costs(*arguments)
    torch.testing.assert_close(fewer_cost, cost, rtol=1e-14, atol=0)
    assert torch.equal(fewer_chosen, chosen)


def test_rounding_makes_no_cost_negative():
    """The float32 factor of two nearly equal inputs is not quite positive."""
    A = torch.eye(2, dtype=torch.float64)
    A[0, 1] = A[1, 0] = 1 + 1e-7
    W = torch.tensor([[1.0, -1.0, 0.0, 0.0]], dtype=torch.float64)
    A = torch.block_diag(A, 1e3 * torch.eye(2, dtype=torch.float64))
    W[:, 2:] = 1
    G = torch.ones(1, 1, dtype=torch.float64)
    cost, chosen = pattern_costs(W, Stiffness(A), Stiffness(G), 2, 4)
    assert ways_to_remove(2, 4)[chosen[0, 0]].tolist() == [0, 1]
    assert cost.tolist() == [[0.0]]
