"""Costs agree with the dense definition, on layers small enough to form F."""

from __future__ import annotations

import pytest
import torch

from surgeon_engine.base.errors import CurvatureError
from surgeon_engine.pruning.costs import (
    Stiffness,
    column_costs,
    column_group_costs,
    element_costs,
    row_costs,
)
from surgeon_engine.runtime import linalg
from tests.helpers.stiffness import KINDS, adapted
from tests.helpers.tensors import (
    make_layer,
    plain_cost_dense,
    random_mask,
)

R, C = 4, 6
both_kinds = pytest.mark.parametrize(("stiffness", "dense"), KINDS)


def costs_of(dense, layer, sets) -> torch.Tensor:
    return torch.stack([dense(layer, Q) for Q in sets])


@both_kinds
def test_row_costs_match_the_dense_definition(stiffness, dense):
    layer = make_layer(R, C)
    costs = row_costs(layer.W, layer.A, stiffness(layer.G))
    torch.testing.assert_close(costs, costs_of(dense, layer, layer.index))


@both_kinds
def test_column_costs_match_the_dense_definition(stiffness, dense):
    layer = make_layer(R, C)
    costs = column_costs(layer.W, layer.G, stiffness(layer.A))
    torch.testing.assert_close(costs, costs_of(dense, layer, layer.index.T))


@both_kinds
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_costs_match_the_dense_definition(stiffness, dense, groups):
    layer = make_layer(R, C)
    sets = layer.index.T.reshape(groups, -1)
    costs = column_group_costs(layer.W, layer.G, stiffness(layer.A), groups)
    torch.testing.assert_close(costs, costs_of(dense, layer, sets))


@both_kinds
def test_element_costs_match_the_dense_definition(stiffness, dense):
    layer = make_layer(R, C)
    costs = element_costs(layer.W, stiffness(layer.A), stiffness(layer.G))
    sets = layer.index.flatten().unsqueeze(1)
    torch.testing.assert_close(costs.flatten(), costs_of(dense, layer, sets))


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


def test_costs_with_an_update_never_exceed_those_without():
    layer = make_layer(R, C)
    for cost in (
        lambda kind: row_costs(layer.W, layer.A, kind(layer.G)),
        lambda kind: column_costs(layer.W, layer.G, kind(layer.A)),
        lambda kind: element_costs(layer.W, kind(layer.A), kind(layer.G)),
    ):
        assert (cost(adapted) < cost(Stiffness)).all()


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


def test_costs_are_not_negative():
    layer = make_layer(R, C)
    layer.W[random_mask(R, C)] = 0
    of_A, of_G = adapted(layer.A), adapted(layer.G)
    assert (row_costs(layer.W, layer.A, of_G) >= 0).all()
    assert (column_costs(layer.W, layer.G, of_A) >= 0).all()
    assert (column_group_costs(layer.W, layer.G, of_A, 2) >= 0).all()


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
