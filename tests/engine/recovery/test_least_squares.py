"""Fits of a weight equal the dense least-squares solution, and keep zeros."""

import pytest
import torch

from surgeon_engine.recovery import least_squares
from surgeon_engine.recovery.least_squares import NormalEquations, fit, solution
from tests.helpers.pretended_gpu import GPU, pretended_gpu

R, C, N = 5, 8, 60


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sums_of(X, Y):
    sums = NormalEquations.zeros(X.shape[1], Y.shape[1], X.device)
    for part in range(0, len(X), 16):
        sums.add(X[part : part + 16], Y[part : part + 16])
    return sums


X, Y, W = draw(N, C), draw(N, R, seed=1), draw(R, C, seed=2)
NOTHING = torch.zeros(R, C, dtype=torch.bool)
WHOLE = NOTHING.clone()
WHOLE[1] = True
WHOLE[:, [0, 5]] = True
SINGLE = draw(R, C, seed=3) > 0.3


def dense_solution(zeros, ridge):
    """Solve each row for itself, by stacking the ridge below the inputs."""
    remaining = (~zeros.all(dim=0)).nonzero().squeeze(1)
    d = ridge * X[:, remaining].square().sum(dim=0).mean().double()
    result = torch.zeros(R, C).double()
    for row in range(R):
        kept = (~zeros[row]).nonzero().squeeze(1)
        if len(kept):
            left = torch.cat([X[:, kept].double(), d.sqrt() * torch.eye(len(kept))])
            right = torch.cat([Y[:, row].double(), d.sqrt() * W[row, kept].double()])
            result[row, kept] = torch.linalg.lstsq(left, right).solution
    return result.float()


@pytest.mark.parametrize(
    "zeros", [NOTHING, WHOLE, SINGLE], ids=["none", "whole", "single"]
)
@pytest.mark.parametrize("ridge", [1e-4, 0.1, 3.0])
def test_solution_equals_dense_least_squares(zeros, ridge):
    found = solution(W, zeros, sums_of(X, Y), ridge)
    assert not found[zeros].any()
    torch.testing.assert_close(
        found, dense_solution(zeros, ridge), rtol=1e-3, atol=1e-3
    )


def test_error_is_relative_to_the_targets():
    sums = sums_of(X, Y)
    expected = (X @ W.T - Y).square().sum() / Y.square().sum()
    assert sums.error(W) == pytest.approx(float(expected), rel=1e-5)
    assert sums.error(torch.zeros_like(W)) == pytest.approx(1.0)


def test_fit_reaches_exact_targets_of_a_linear_layer():
    true = draw(R, C, seed=4)
    others = draw(N, C, seed=5)
    found, result = fit(
        W, NOTHING, sums_of(X, X @ true.T), sums_of(others, others @ true.T)
    )
    assert result.ridge == 0.01  # the smallest: the targets have no noise
    assert result.after < 0.01 * result.before
    torch.testing.assert_close(found, true, atol=0.1, rtol=0)


def test_ridge_is_the_best_on_the_held_out_text():
    few = X[:6]  # fewer than unknowns: the fit alone would choose the smallest ridge
    true = draw(R, C, seed=4)
    noisy = few @ true.T + 3 * draw(6, R, seed=6)
    held_out = sums_of(X, X @ true.T)
    found, result = fit(true, NOTHING, sums_of(few, noisy), held_out)
    assert result.ridge is None  # none is better than the true weight
    assert torch.equal(found, true)
    assert result.before == result.after


def test_search_ends_where_the_error_rises(monkeypatch):
    tried = []

    def counted(*arguments, **settings):
        tried.append(arguments[3])
        return solution(*arguments, **settings)

    monkeypatch.setattr(least_squares, "solution", counted)
    few, true = X[:6], draw(R, C, seed=4)
    noisy = few @ true.T + 3 * draw(6, R, seed=6)
    held_out = sums_of(X, X @ true.T + draw(N, R, seed=9))
    fit(true, NOTHING, sums_of(few, noisy), held_out)
    assert tried == [3.0, 1.0]


def test_conjugate_gradients_may_begin_anywhere():
    zeros = draw(R, C, seed=7) > 0
    sums = sums_of(X, X @ draw(R, C, seed=4).T)
    expected = solution(W, zeros, sums, 0.1)
    found = solution(W, zeros, sums, 0.1, start=draw(R, C, seed=8))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert not found[zeros].any()


@pytest.mark.parametrize("has_zeros", [False, True])
def test_fit_leaves_the_sums_as_they_are(has_zeros):
    """Layers that read the same input share the sum of inputs."""
    generator = torch.Generator().manual_seed(0)
    X, W = (torch.randn(n, 6, generator=generator) for n in (40, 4))
    sums = [NormalEquations.zeros(6, 4, X.device) for _ in range(2)]
    for each, part in zip(sums, X.split(20), strict=True):
        each.add(part, part @ W.T)
    before = [each.XX.clone() for each in sums]
    zeros = torch.zeros(4, 6, dtype=torch.bool)
    zeros[0, 1] = has_zeros
    fit(0.5 * W, zeros, *sums)
    assert all(torch.equal(x.XX, y) for x, y in zip(sums, before, strict=True))


def test_large_sums_of_held_out_inputs_are_on_the_host(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    X, W = (torch.randn(n, 6, generator=generator) for n in (40, 4))
    with pretended_gpu() as gpu:
        sums = [NormalEquations.zeros(6, 4, GPU) for _ in range(2)]
        for each, part in zip(sums, X.to(GPU).split(20), strict=True):
            each.add(part, part @ W.to(GPU).T)
        other = sums[1].with_same_inputs(4)
        expected = sums[1].error(0.5 * W.to(GPU))
        NormalEquations.move_to_host([sums[1], other])
        assert sums[1].XX.device == GPU  # it is small
        monkeypatch.setattr(least_squares, "SUMS_ON_HOST", 4 * 6 * 6)
        live = gpu.live
        NormalEquations.move_to_host([sums[1], other])
        assert gpu.live == live - 4 * (6 * 6 + 2 * 6 * 4)
        assert other.XX is sums[1].XX
        assert sums[1].error(0.5 * W.to(GPU)) == expected


def test_error_of_a_wide_layer_is_computed_in_parts(monkeypatch):
    monkeypatch.setattr(least_squares, "_COLUMNS", 3)  # W has 8 columns
    expected = float((X @ W.T - Y).square().sum() / Y.square().sum())
    assert sums_of(X, Y).error(W) == pytest.approx(expected, rel=1e-4)


def test_fit_without_inputs_keeps_the_weight():
    dead = NormalEquations.zeros(C, R, X.device)
    found, result = fit(W, NOTHING, dead, sums_of(X, X @ W.T))
    assert result.ridge is None
    assert torch.equal(found, W)
