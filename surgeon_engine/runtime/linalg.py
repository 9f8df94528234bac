"""Linear algebra of symmetric positive definite matrices.

    M   n x n   a covariance
    L           its lower Cholesky factor, M = L L'

Matrices are factorized in their own dtype. A damped covariance in float32 almost always
has a factor in float32, too. Each result is checked by its residual; where it fails or
is inaccurate, it is computed again in float64, on the host: many GPUs are slow in it,
and some do not have it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from surgeon_engine.base.errors import CurvatureError

_TOLERANCE = 1e-2  # relative residual of a result in float32
_COLUMNS = 512  # columns solved at a time


def damped(M: Tensor, damping: float) -> Tensor:
    """Return M with `damping` times the mean eigenvalue added to its diagonal; n x n.

    To a matrix of zeros, which has no scale, `damping` itself is added, so that a layer
    without inputs costs nothing instead of failing.
    """
    M = M.clone()
    mean_eigenvalue = float(M.diagonal().mean()) or 1.0
    M.diagonal().add_(damping * mean_eigenvalue)
    return M


def cholesky(M: Tensor) -> Tensor:
    """Return L, n x n, lower.

    Raises:
        CurvatureError: M is not positive definite.
    """
    L, info = torch.linalg.cholesky_ex(M)
    if info.item() == 0 and _is_accurate(L @ (L.T @ _probe(M)), M @ _probe(M)):
        return L
    if M.dtype != torch.float64:
        return cholesky(M.cpu().double()).to(M)
    raise CurvatureError(
        "A {size} x {size} covariance is not positive definite (its leading minor "
        "{minor} is not).",
        "Raise the damping, or use more calibration text.",
        size=len(M),
        minor=info.item(),
    )


def inverse(M: Tensor) -> Tensor:
    """Return M^-1, n x n.

    Raises:
        CurvatureError: M is not positive definite.
    """
    found = torch.cholesky_inverse(cholesky(M))
    if M.dtype == torch.float64 or _is_accurate(M @ (found @ _probe(M)), _probe(M)):
        return found
    return inverse(M.cpu().double()).to(M)


def inverses(M: Tensor) -> Tensor:
    """Return the inverses of a batch of small M; b x n x n.

    They are computed from Cholesky factors: the LU factors of `torch.linalg.inv` failed
    on a busy CPU with pivots of 0, for blocks that passed when tried again.

    Raises:
        CurvatureError: an M is not positive definite.
    """
    L, info = torch.linalg.cholesky_ex(M)
    if not bool(info.any()):
        return torch.cholesky_inverse(L)
    if M.dtype != torch.float64:
        return inverses(M.cpu().double()).to(M)
    first = int(info.ne(0).nonzero()[0])
    raise CurvatureError(
        "Block {block} of {blocks} ({size} x {size} each) of an inverse covariance is "
        "not positive definite.",
        "Raise the damping, or use more calibration text.",
        block=first + 1,
        blocks=len(M),
        size=M.shape[-1],
    )


def solve(M: Tensor, make_B: Callable[[], Tensor]) -> Tensor:
    """Return M^-1 B, n x k.

    It takes the place of B, and some columns are solved at a time, so that it needs
    little memory beside L.

    Args:
        M: n x n.
        make_B: returns a new tensor, n x k. It is called again if the result in
            float32 is not accurate.

    Raises:
        CurvatureError: M is not positive definite.
    """
    L, triangular = cholesky(M), torch.linalg.solve_triangular
    B = make_B()
    some = _probe(B.T)
    expected = B @ some
    for columns in B.split(_COLUMNS, dim=1):
        # `cholesky_solve` would copy L.
        new = triangular(L.T, triangular(L, columns, upper=False), upper=True)
        columns.copy_(new)
    if M.dtype == torch.float64 or _is_accurate(M @ (B @ some), expected):
        return B
    return solve(M.cpu().double(), lambda: make_B().cpu().double()).to(M)


def _probe(M: Tensor) -> Tensor:
    """Return a vector by which a result for M is checked; n x 1."""
    n = torch.arange(len(M), device=M.device)
    return torch.cos(n.square().to(M)).unsqueeze(1)  # has parts in all directions


def _is_accurate(found: Tensor, expected: Tensor) -> bool:
    """Return whether a result is finite and near; false for NaN."""
    return bool((found - expected).norm() <= _TOLERANCE * expected.norm())
