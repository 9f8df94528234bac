"""The updated weight minimizes the quadratic to 1e-8."""

import pytest
import torch

from surgeon_engine.pruning.update import (
    fold_columns,
    fold_rows,
    joint_update,
    separate_update,
)
from tests.helpers.tensors import best_weight_dense, make_layer, quadratic_cost

R, C = 4, 5
EXACT = {"rtol": 0, "atol": 1e-8}


def flags(size: int, *removed: int) -> torch.Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(removed)] = True
    return mask


CASES = [
    (flags(R), flags(C)),
    (flags(R, 1), flags(C)),
    (flags(R), flags(C, 0, 3)),
    (flags(R, 0, 2), flags(C, 1, 4)),
    (flags(R, 0, 1, 2), flags(C, 0, 1, 2, 3)),
]


@pytest.mark.parametrize(("row", "column"), CASES)
def test_joint_update_is_the_dense_minimizer(row, column):
    layer = make_layer(R, C)
    is_removed = row.unsqueeze(1) | column.unsqueeze(0)
    X = joint_update(layer.W, layer.A, layer.G, row, column)
    torch.testing.assert_close(X, best_weight_dense(layer, is_removed), **EXACT)
    assert (X[is_removed] == 0).all()


@pytest.mark.parametrize(("row", "column"), CASES[1:3])
def test_separate_update_is_exact_if_only_rows_or_only_columns_are_removed(row, column):
    layer = make_layer(R, C)
    torch.testing.assert_close(
        separate_update(layer.W, layer.A, layer.G, row, column),
        joint_update(layer.W, layer.A, layer.G, row, column),
        **EXACT,
    )


def test_separate_update_misses_the_cross_term():
    layer = make_layer(R, C)
    row, column = CASES[3]
    X = separate_update(layer.W, layer.A, layer.G, row, column)
    kept = ~(row.unsqueeze(1) | column.unsqueeze(0))
    by_rows = best_weight_dense(layer, row.unsqueeze(1).expand(R, C)) - layer.W
    by_columns = best_weight_dense(layer, column.unsqueeze(0).expand(R, C)) - layer.W
    torch.testing.assert_close(X[kept], (layer.W + by_rows + by_columns)[kept], **EXACT)
    assert (X[~kept] == 0).all()
    assert quadratic_cost(layer, X) > quadratic_cost(
        layer, joint_update(layer.W, layer.A, layer.G, row, column)
    )


def test_folding_one_side_does_not_need_the_other_factor():
    layer = make_layer(R, C)
    row, column = flags(R, 1), flags(C, 2, 3)
    torch.testing.assert_close(
        fold_rows(layer.W, layer.G, row),
        best_weight_dense(layer, row.unsqueeze(1).expand(R, C)),
        **EXACT,
    )
    torch.testing.assert_close(
        fold_columns(layer.W, layer.A, column),
        best_weight_dense(layer, column.unsqueeze(0).expand(R, C)),
        **EXACT,
    )
