"""Costs agree with the dense definition, on layers small enough to form F."""

import itertools

import pytest
import torch
from torch import Tensor

from surgeon_engine.base.errors import CurvatureError
from surgeon_engine.pruning import costs
from surgeon_engine.pruning.costs import (
    Stiffness,
    column_costs,
    column_group_costs,
    element_costs,
    pattern_costs,
    row_costs,
    ways_to_remove,
)
from surgeon_engine.runtime import linalg
from tests.helpers.tensors import make_layer, plain_cost_dense, removal_cost_dense

R, C = 4, 6


def adapted(M: Tensor) -> Stiffness:
    """Return the stiffness of a factor if the kept weights adapt to removals."""
    return Stiffness(linalg.inverse(M), is_inverse=True)


both_kinds = pytest.mark.parametrize(
    ("stiffness", "dense"),
    [(adapted, removal_cost_dense), (Stiffness, plain_cost_dense)],
    ids=["OBS", "OBD"],
)


def costs_of(dense, layer, sets) -> torch.Tensor:
    return torch.stack([dense(layer, Q) for Q in sets])


@both_kinds
def test_costs_match_the_dense_definition(stiffness, dense):
    layer = make_layer(R, C)
    of_A, of_G = stiffness(layer.A), stiffness(layer.G)
    for found, sets in (
        (row_costs(layer.W, layer.A, of_G), layer.index),
        (column_costs(layer.W, layer.G, of_A), layer.index.T),
        (
            element_costs(layer.W, of_A, of_G).flatten(),
            layer.index.flatten().unsqueeze(1),
        ),
    ):
        torch.testing.assert_close(found, costs_of(dense, layer, sets))


@both_kinds
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_costs_match_the_dense_definition(stiffness, dense, groups):
    layer = make_layer(R, C)
    sets = layer.index.T.reshape(groups, -1)
    costs = column_group_costs(layer.W, layer.G, stiffness(layer.A), groups)
    torch.testing.assert_close(costs, costs_of(dense, layer, sets))


@both_kinds
def test_bias_column_belongs_to_no_group(stiffness, dense):
    layer = make_layer(R, C + 1)
    costs = column_group_costs(layer.W, layer.G, stiffness(layer.A), 2)
    for group, cost in enumerate(costs):
        Q = layer.index[:, 3 * group : 3 * group + 3].flatten()
        torch.testing.assert_close(cost, dense(layer, Q))


@both_kinds
def test_stiffness_of_a_set_is_that_of_its_block(stiffness, dense):
    M = make_layer(R, C).A
    index = torch.tensor([[0, 3], [4, 1]])
    blocks = stiffness(M).blocks(index)
    for Q, block in zip(index, blocks, strict=True):
        if dense is plain_cost_dense:
            expected = M[Q][:, Q]
        else:  # the Schur complement, by elimination of the others
            K = torch.tensor([i for i in range(C) if i not in Q])
            rest = torch.linalg.solve(M[K][:, K], M[K][:, Q])
            expected = M[Q][:, Q] - M[Q][:, K] @ rest
        torch.testing.assert_close(block, expected)
    single = stiffness(M).blocks(torch.arange(C).unsqueeze(1)).flatten()
    torch.testing.assert_close(stiffness(M).diagonal(), single)


@pytest.mark.parametrize("stiffness", [adapted, Stiffness])
def test_exactly_zero_weights_cost_nothing(stiffness):
    layer = make_layer(R, C)
    layer.W[:, 2:4] = 0
    layer.W[1] = 0
    of_A, of_G = stiffness(layer.A), stiffness(layer.G)
    columns = column_costs(layer.W, layer.G, of_A)
    assert (columns == 0).tolist() == [False, False, True, True, False, False]
    groups = column_group_costs(layer.W, layer.G, of_A, 3)
    assert (groups == 0).tolist() == [False, True, False]
    rows = row_costs(layer.W, layer.A, of_G)
    assert (rows == 0).tolist() == [False, True, False, False]
    elements = element_costs(layer.W, of_A, of_G)
    assert ((elements == 0) == (layer.W == 0)).all()


def test_blocks_are_inverted_each_and_a_singular_one_is_named():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(3, 4, 9, dtype=torch.float64, generator=generator)
    M = X @ X.mT
    torch.testing.assert_close(
        linalg.inverses(M) @ M, torch.eye(4, dtype=torch.float64).expand(3, 4, 4)
    )
    M[1] = -M[1]
    with pytest.raises(
        CurvatureError, match=r"Block 2 of 3 .* is not positive definite"
    ):
        linalg.inverses(M)


ROWS = 3
PATTERNS = [(2, 4, 8), (1, 2, 6), (2, 5, 10), (3, 4, 8), (1, 3, 6)]


def choices_dense(layer, dense, r, start, kept, of):
    """Return the costs of all possible removals in one group, by removed columns."""
    return {
        removed: float(
            dense(layer, layer.index[r, [start + offset for offset in removed]])
        )
        for removed in itertools.combinations(range(of), of - kept)
    }


@both_kinds
@pytest.mark.parametrize(("kept", "of", "C"), PATTERNS)
def test_cheapest_of_all_ways_is_found(stiffness, dense, kept, of, C):
    layer = make_layer(ROWS, C)
    cost, chosen = pattern_costs(
        layer.W, stiffness(layer.A), stiffness(layer.G), kept, of
    )
    assert cost.shape == chosen.shape == (ROWS, C // of)
    ways = ways_to_remove(kept, of)
    for r in range(ROWS):
        for group in range(C // of):
            each = choices_dense(layer, dense, r, group * of, kept, of)
            best = min(each, key=each.__getitem__)
            assert tuple(ways[chosen[r, group]].tolist()) == best
            assert float(cost[r, group]) == pytest.approx(each[best], rel=1e-9)


@pytest.mark.parametrize(("kept", "of"), [(2, 4), (2, 5), (4, 8)])
def test_every_way_to_remove_is_listed_once(kept, of):
    ways = ways_to_remove(kept, of).tolist()
    assert sorted(map(tuple, ways)) == list(
        itertools.combinations(range(of), of - kept)
    )


@pytest.mark.parametrize("C", [10, 11])
def test_columns_beyond_the_last_whole_group_belong_to_none(C):
    layer = make_layer(ROWS, C)
    of_A, of_G = adapted(layer.A), adapted(layer.G)
    cost, _ = pattern_costs(layer.W, of_A, of_G, 2, 4)
    assert cost.shape == (ROWS, 2)
    each = choices_dense(layer, removal_cost_dense, 0, 4, 2, 4)
    assert float(cost[0, 1]) == pytest.approx(min(each.values()))


def test_rows_processed_a_few_at_a_time_cost_the_same(monkeypatch):
    layer = make_layer(ROWS, 8)
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
