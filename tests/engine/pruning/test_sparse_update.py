"""After the removal of single weights the kept ones minimize the quadratic."""

import pytest
import torch

from surgeon_engine.pruning import sparse_update
from surgeon_engine.pruning.sparse_update import grouped_update, whole_update
from surgeon_engine.runtime.linalg import damped
from tests.helpers.tensors import (
    SmallLayer,
    best_weight_dense,
    make_layer,
    quadratic_cost,
    random_mask,
)

R, C = 5, 7


def exact(monkeypatch):
    """Run conjugate gradients in float64 until they converge."""
    monkeypatch.setattr(sparse_update, "_DTYPE", torch.float64)
    monkeypatch.setattr(sparse_update, "_TOLERANCE", 1e-30)


def masks():
    nothing = torch.zeros(R, C, dtype=torch.bool)
    one = nothing.clone()
    one[2, 3] = True
    row, column = nothing.clone(), nothing.clone()
    row[1] = True
    column[:, [0, 4]] = True
    return {
        "nothing": nothing,
        "one": one,
        "row": row,
        "columns": column,
        "third": random_mask(R, C, share=0.3),
        "most": random_mask(R, C, share=0.8, seed=1),
        "all": ~nothing,
    }


each_mask = pytest.mark.parametrize("is_removed", masks().values(), ids=masks())


@each_mask
@pytest.mark.parametrize(
    ("update", "further"),
    [(whole_update, ()), (grouped_update, (R * C,)), (grouped_update, (10_000,))],
)
def test_update_of_all_at_once_is_the_dense_minimizer(
    monkeypatch, update, further, is_removed
):
    exact(monkeypatch)
    layer = make_layer(R, C)
    X = update(layer.W, layer.A, layer.G, is_removed, *further)
    torch.testing.assert_close(
        X, best_weight_dense(layer, is_removed), rtol=0, atol=1e-9
    )
    assert (X[is_removed] == 0).all()


def test_search_that_ends_exactly_at_the_minimum_is_the_dense_minimizer():
    """One weight is kept: after the first step the gradient is zero."""
    W, A, G = (
        torch.tensor(x, dtype=torch.float64)
        for x in ([[3, 5]], [[2, 1], [1, 2]], [[1]])
    )
    is_removed = torch.tensor([[False, True]])
    X = whole_update(W, A, G, is_removed)
    assert torch.equal(X, torch.tensor([[5.5, 0.0]], dtype=torch.float64))
    expected = best_weight_dense(SmallLayer(W, A, G), is_removed)
    torch.testing.assert_close(X, expected)


@each_mask
def test_whole_update_has_almost_all_of_the_gain(is_removed):
    layer = make_layer(R, C)
    X = whole_update(layer.W, layer.A, layer.G, is_removed)
    minimum = quadratic_cost(layer, best_weight_dense(layer, is_removed))
    start = quadratic_cost(layer, layer.W.masked_fill(is_removed, 0))
    assert quadratic_cost(layer, X) - minimum <= 2e-3 * (start - minimum)
    assert (X[is_removed] == 0).all()


@pytest.mark.parametrize("max_correlated", [1, 2, 5])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_groups_are_updated_one_after_another(max_correlated, share):
    layer = make_layer(R, C)
    is_removed = random_mask(R, C, share=share)
    indices = is_removed.flatten().nonzero().flatten()
    expected = layer.W
    for group in indices.split(max_correlated):  # row by row
        alone = torch.zeros(R * C, dtype=torch.bool)
        alone[group] = True
        before = SmallLayer(expected, layer.A, layer.G)
        expected = best_weight_dense(before, alone.view(R, C))
    expected = expected.masked_fill(is_removed, 0)
    X = grouped_update(layer.W, layer.A, layer.G, is_removed, max_correlated)
    torch.testing.assert_close(X, expected, rtol=0, atol=1e-9)
    assert (X[is_removed] == 0).all()


def test_rounding_error_is_far_below_that_of_ending_the_search(monkeypatch):
    """The factors are in float32 and as ill-conditioned as damping allows."""
    layer = make_layer(24, 64)
    for M in (layer.A, layer.G):
        M += 100  # one direction that has nearly all of the trace
        M.copy_(damped(M, 0.1))
    is_removed = random_mask(24, 64)
    ended = whole_update(layer.W, layer.A, layer.G, is_removed)
    monkeypatch.setattr(sparse_update, "_TOLERANCE", 1e-9)
    rounded = whole_update(layer.W, layer.A, layer.G, is_removed)
    minimum = quadratic_cost(layer, best_weight_dense(layer, is_removed))
    by_rounding = quadratic_cost(layer, rounded) / minimum - 1
    assert by_rounding < 1e-6
    assert by_rounding < 0.01 * (quadratic_cost(layer, ended) / minimum - 1)


@pytest.mark.parametrize("scale", [1e-36, 1e30])
def test_scale_of_the_factors_does_not_matter(scale):
    """Products of squares of small gradients would be zero in float32."""
    layer, is_removed = make_layer(R, C), random_mask(R, C)
    X = whole_update(layer.W, layer.A, layer.G, is_removed)
    scaled = whole_update(layer.W, scale * layer.A, scale * layer.G, is_removed)
    torch.testing.assert_close(scaled, X, rtol=0, atol=1e-5)


def test_ill_conditioned_factors_take_few_steps(monkeypatch):
    """1152 unknowns with condition 1e8 take thousands without a preconditioner."""
    monkeypatch.setattr(sparse_update, "_MAX_STEPS", 30)
    layer = make_layer(24, 64)
    scale = torch.logspace(-2, 2, 64, dtype=torch.float64)
    layer.A.mul_(scale).mul_(scale.unsqueeze(1))
    is_removed = random_mask(24, 64, share=0.25)
    X = whole_update(layer.W, layer.A, layer.G, is_removed)
    minimum = quadratic_cost(layer, best_weight_dense(layer, is_removed))
    start = quadratic_cost(layer, layer.W.masked_fill(is_removed, 0))
    assert quadratic_cost(layer, X) - minimum <= 1e-2 * (start - minimum)


@pytest.mark.parametrize("max_correlated", [0, 3, 1000])
def test_bias_is_updated_and_never_removed(monkeypatch, max_correlated):
    """The mask has no column for the bias."""
    exact(monkeypatch)
    layer = make_layer(R, C + 1)
    is_removed = random_mask(R, C, share=0.4)
    in_W = torch.cat([is_removed, torch.zeros(R, 1, dtype=torch.bool)], dim=1)
    if max_correlated:
        X = grouped_update(layer.W, layer.A, layer.G, is_removed, max_correlated)
    else:
        X = whole_update(layer.W, layer.A, layer.G, is_removed)
    if max_correlated != 3:
        torch.testing.assert_close(X, best_weight_dense(layer, in_W), rtol=0, atol=1e-9)
    assert (X[:, -1] != 0).all()
    assert not torch.isclose(X[:, -1], layer.W[:, -1]).any()
    assert torch.equal(X == 0, in_W)


@each_mask
def test_update_does_not_change_its_input(is_removed):
    layer = make_layer(R, C)
    before = layer.W.clone()
    for X in (
        whole_update(layer.W, layer.A, layer.G, is_removed),
        grouped_update(layer.W, layer.A, layer.G, is_removed, 3),
    ):
        X += 1
        assert torch.equal(layer.W, before)


def test_weight_without_effect_ends_the_search(monkeypatch):
    """W is zero: there is nothing to compensate, and divisors are zero."""
    exact(monkeypatch)
    layer = make_layer(R, C)
    X = whole_update(layer.W * 0, layer.A, layer.G, random_mask(R, C))
    assert torch.equal(X, torch.zeros(R, C, dtype=torch.float64))
