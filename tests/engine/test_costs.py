"""Costs agree with the dense definition, on layers small enough to form F."""

from __future__ import annotations

import pytest
import torch

from surgeon_engine import linalg
from surgeon_engine.pruning.costs import (
    column_costs,
    column_group_costs,
    row_costs,
)
from tests.helpers.tensors import make_layer, removal_cost_dense

R, C = 4, 6
INDEX = torch.arange(R * C).view(R, C)


def inverse_diagonal(M):
    return linalg.inverse(M).diagonal()


def test_row_costs_match_the_dense_definition():
    layer = make_layer(R, C)
    expected = torch.stack([removal_cost_dense(layer, Q) for Q in INDEX])
    costs = row_costs(layer.W, layer.A, inverse_diagonal(layer.G))
    torch.testing.assert_close(costs, expected)


def test_column_costs_match_the_dense_definition():
    layer = make_layer(R, C)
    expected = torch.stack([removal_cost_dense(layer, Q) for Q in INDEX.T])
    costs = column_costs(layer.W, layer.G, inverse_diagonal(layer.A))
    torch.testing.assert_close(costs, expected)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_costs_match_the_dense_definition(groups):
    layer = make_layer(R, C)
    sets = INDEX.T.reshape(groups, -1)
    expected = torch.stack([removal_cost_dense(layer, Q) for Q in sets])
    costs = column_group_costs(layer.W, layer.G, linalg.inverse(layer.A), groups)
    torch.testing.assert_close(costs, expected)


def test_a_bias_column_belongs_to_no_group():
    layer = make_layer(R, C + 1)
    index = torch.arange(R * (C + 1)).view(R, C + 1)
    costs = column_group_costs(layer.W, layer.G, linalg.inverse(layer.A), 2)
    for group, cost in enumerate(costs):
        Q = index[:, 3 * group : 3 * group + 3].flatten()
        torch.testing.assert_close(cost, removal_cost_dense(layer, Q))


def test_costs_do_not_depend_on_the_order_of_rows():
    layer = make_layer(R, C)
    order = torch.randperm(R, generator=torch.Generator().manual_seed(1))
    shuffled = row_costs(
        layer.W[order], layer.A, inverse_diagonal(layer.G[order][:, order])
    )
    straight = row_costs(layer.W, layer.A, inverse_diagonal(layer.G))
    torch.testing.assert_close(shuffled, straight[order])


def test_a_column_that_is_zero_costs_nothing():
    layer = make_layer(R, C)
    layer.W[:, 2] = 0
    costs = column_costs(layer.W, layer.G, inverse_diagonal(layer.A))
    assert costs[2] == 0
    assert (costs[[0, 1, 3, 4, 5]] > 0).all()
