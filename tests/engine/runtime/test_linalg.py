"""Matrices are factorized in float32, and again in float64 where that is inaccurate."""

import pytest
import torch

from surgeon_engine.base.errors import CurvatureError
from surgeon_engine.runtime import linalg


def covariance(n: int, condition: float) -> torch.Tensor:
    """Return a covariance with eigenvalues from 1 to `condition`, float64."""
    draw = torch.Generator().manual_seed(0)
    Q, _ = torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64))
    return (Q * torch.logspace(0, torch.tensor(condition).log10(), n)) @ Q.T


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("condition", [10, 1e4, 1e7])
def test_results_equal_those_of_float64(dtype, condition):
    M = covariance(40, condition)
    B = torch.ones(40, 2, dtype=torch.float64)
    found = M.to(dtype)
    exact = found.double()  # rounding of the entries is no error of the algebra
    tolerance = {"rtol": 0.05, "atol": 1e-3} if dtype == torch.float32 else {}
    torch.testing.assert_close(
        linalg.solve(found, lambda: B.to(dtype, copy=True)).double(),
        torch.linalg.solve(exact, B),
        **tolerance,
    )
    torch.testing.assert_close(
        linalg.inverse(found).double(), torch.linalg.inv(exact), **tolerance
    )
    assert linalg.inverse(found).dtype == linalg.cholesky(found).dtype == dtype


def test_equations_are_solved_some_columns_at_a_time(monkeypatch):
    monkeypatch.setattr(linalg, "_COLUMNS", 2)
    generator = torch.Generator().manual_seed(0)
    X, B = (torch.randn(20, n, generator=generator) for n in (6, 5))
    M, B = X.T @ X, X.T @ B
    expected = torch.linalg.solve(M, B)
    found = linalg.solve(M, lambda: B)
    assert found is B  # there is no second tensor of this size
    torch.testing.assert_close(found, expected)


def test_matrix_that_fails_in_float32_is_factorized_in_float64(monkeypatch):
    seen = []
    factor = torch.linalg.cholesky_ex

    def recorded(M):
        seen.append(M.dtype)
        L, info = factor(M)
        return (L, info + 1) if M.dtype == torch.float32 else (L, info)

    monkeypatch.setattr(torch.linalg, "cholesky_ex", recorded)
    M = covariance(8, 10).float()
    torch.testing.assert_close(linalg.inverse(M) @ M, torch.eye(8))
    assert seen == [torch.float32, torch.float64]
    torch.testing.assert_close(linalg.inverses(M[None]) @ M, torch.eye(8)[None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrix_that_is_not_positive_definite_is_refused(dtype):
    M = torch.eye(4, dtype=dtype)
    M[2, 2] = -1
    for function in (linalg.cholesky, linalg.inverse):
        with pytest.raises(CurvatureError, match="leading minor 3"):
            function(M)
    with pytest.raises(CurvatureError, match="Block 2 of 2"):
        linalg.inverses(torch.stack([torch.eye(4, dtype=dtype), M]))


def test_damping_is_a_multiple_of_the_mean_eigenvalue():
    M = covariance(6, 10)
    expected = M + 0.5 * M.diagonal().mean() * torch.eye(6)
    torch.testing.assert_close(linalg.damped(M, 0.5), expected)
    zeros = torch.zeros(3, 3)
    assert torch.equal(linalg.damped(zeros, 0.5), 0.5 * torch.eye(3))
