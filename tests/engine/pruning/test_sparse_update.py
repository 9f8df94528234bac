"""Single weights gone: the kept ones are the best there are for the quadratic."""

from __future__ import annotations

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
    """Conjugate gradients until nothing is left to gain, in float64."""
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


each_mask = pytest.mark.parametrize("goes", masks().values(), ids=masks())


@each_mask
def test_the_whole_update_is_the_dense_minimiser(monkeypatch, goes):
    exact(monkeypatch)
    layer = make_layer(R, C)
    X = whole_update(layer.W, layer.A, layer.G, goes)
    torch.testing.assert_close(X, best_weight_dense(layer, goes), rtol=0, atol=1e-9)
    assert (X[goes] == 0).all()


@each_mask
def test_the_whole_update_leaves_out_hardly_any_of_the_gain(goes):
    layer = make_layer(R, C)
    X = whole_update(layer.W, layer.A, layer.G, goes)
    least = quadratic_cost(layer, best_weight_dense(layer, goes))
    start = quadratic_cost(layer, layer.W.masked_fill(goes, 0))
    assert quadratic_cost(layer, X) - least <= 2e-3 * (start - least)
    assert (X[goes] == 0).all()


@each_mask
@pytest.mark.parametrize("max_correlated", [R * C, 10_000])
def test_one_group_of_all_is_the_dense_minimiser(goes, max_correlated):
    layer = make_layer(R, C)
    X = grouped_update(layer.W, layer.A, layer.G, goes, max_correlated)
    torch.testing.assert_close(X, best_weight_dense(layer, goes), rtol=0, atol=1e-9)
    assert (X[goes] == 0).all()


@pytest.mark.parametrize("max_correlated", [1, 2, 5])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_groups_follow_one_another_on_what_has_already_adapted(max_correlated, share):
    layer = make_layer(R, C)
    goes = random_mask(R, C, share=share)
    places = goes.flatten().nonzero().flatten()
    expected = layer.W
    for group in places.split(max_correlated):  # row by row
        alone = torch.zeros(R * C, dtype=torch.bool)
        alone[group] = True
        before = SmallLayer(expected, layer.A, layer.G)
        expected = best_weight_dense(before, alone.view(R, C))
    expected = expected.masked_fill(goes, 0)
    X = grouped_update(layer.W, layer.A, layer.G, goes, max_correlated)
    torch.testing.assert_close(X, expected, rtol=0, atol=1e-9)
    assert (X[goes] == 0).all()


def test_rounding_leaves_out_far_less_than_ending_the_search(monkeypatch):
    """In float32, with factors as ill-conditioned as damping leaves them."""
    layer = make_layer(24, 64)
    for M in (layer.A, layer.G):
        M += 100  # one direction that has nearly all of the trace
        M.copy_(damped(M, 0.1))
    goes = random_mask(24, 64)
    ended = whole_update(layer.W, layer.A, layer.G, goes)
    monkeypatch.setattr(sparse_update, "_TOLERANCE", 1e-9)
    rounded = whole_update(layer.W, layer.A, layer.G, goes)
    least = quadratic_cost(layer, best_weight_dense(layer, goes))
    by_rounding = quadratic_cost(layer, rounded) / least - 1
    assert by_rounding < 1e-6
    assert by_rounding < 0.01 * (quadratic_cost(layer, ended) / least - 1)


@pytest.mark.parametrize("scale", [1e-36, 1e30])
def test_the_scale_of_the_factors_is_of_no_account(scale):
    """Squares of small gradients, times one another, would be zero in float32."""
    layer, goes = make_layer(R, C), random_mask(R, C)
    X = whole_update(layer.W, layer.A, layer.G, goes)
    scaled = whole_update(layer.W, scale * layer.A, scale * layer.G, goes)
    torch.testing.assert_close(scaled, X, rtol=0, atol=1e-5)


def test_factors_of_very_different_eigenvalues_take_few_steps(monkeypatch):
    """Of 1152 unknowns, with a condition of 1e8 and no preconditioner: thousands."""
    monkeypatch.setattr(sparse_update, "_MAX_STEPS", 30)
    layer = make_layer(24, 64)
    scale = torch.logspace(-2, 2, 64, dtype=torch.float64)
    layer.A.mul_(scale).mul_(scale.unsqueeze(1))
    goes = random_mask(24, 64, share=0.25)
    X = whole_update(layer.W, layer.A, layer.G, goes)
    least = quadratic_cost(layer, best_weight_dense(layer, goes))
    start = quadratic_cost(layer, layer.W.masked_fill(goes, 0))
    assert quadratic_cost(layer, X) - least <= 1e-2 * (start - least)


def test_groups_are_dearer_than_all_together_and_cheaper_than_no_update(monkeypatch):
    exact(monkeypatch)
    layer = make_layer(R, C)
    goes = random_mask(R, C, share=0.4)
    together = quadratic_cost(layer, whole_update(layer.W, layer.A, layer.G, goes))
    grouped = quadratic_cost(layer, grouped_update(layer.W, layer.A, layer.G, goes, 3))
    none = quadratic_cost(layer, layer.W.masked_fill(goes, 0))
    assert together < grouped < none


@pytest.mark.parametrize("max_correlated", [0, 3, 1000])
def test_a_bias_adapts_and_never_goes(monkeypatch, max_correlated):
    """The mask has no column for it."""
    exact(monkeypatch)
    layer = make_layer(R, C + 1)
    goes = random_mask(R, C, share=0.4)
    in_W = torch.cat([goes, torch.zeros(R, 1, dtype=torch.bool)], dim=1)
    if max_correlated:
        X = grouped_update(layer.W, layer.A, layer.G, goes, max_correlated)
    else:
        X = whole_update(layer.W, layer.A, layer.G, goes)
    if max_correlated != 3:
        torch.testing.assert_close(X, best_weight_dense(layer, in_W), rtol=0, atol=1e-9)
    assert (X[:, -1] != 0).all()
    assert not torch.isclose(X[:, -1], layer.W[:, -1]).any()
    assert torch.equal(X == 0, in_W)


@each_mask
def test_the_weight_that_is_given_is_not_written_to(goes):
    layer = make_layer(R, C)
    before = layer.W.clone()
    for X in (
        whole_update(layer.W, layer.A, layer.G, goes),
        grouped_update(layer.W, layer.A, layer.G, goes, 3),
    ):
        X += 1
        assert torch.equal(layer.W, before)


def test_a_weight_without_effect_ends_the_search(monkeypatch):
    """All of W is zero: there is nothing to make up for, and nothing to divide by."""
    exact(monkeypatch)
    layer = make_layer(R, C)
    X = whole_update(layer.W * 0, layer.A, layer.G, random_mask(R, C))
    assert torch.equal(X, torch.zeros(R, C, dtype=torch.float64))
