"""Linear algebra of symmetric positive definite matrices.

    M   n x n   a covariance
    L           its lower Cholesky factor, M = L L'

Everything is factorised in float64: covariances of activations have condition numbers
far beyond what float32 holds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon_engine.api.errors import CurvatureError


def damped(M: Tensor, damping: float) -> Tensor:
    """Add `damping` times the mean eigenvalue to the diagonal of M; n x n, float64.

    To a matrix of zeros, which has no scale, `damping` itself is added, so that a layer
    without inputs costs nothing instead of failing.
    """
    M = M.to(torch.float64, copy=True)
    mean_eigenvalue = float(M.diagonal().mean()) or 1.0
    M.diagonal().add_(damping * mean_eigenvalue)
    return M


def cholesky(M: Tensor) -> Tensor:
    """Return L, n x n, lower.

    Raises:
        CurvatureError: M is not positive definite.
    """
    L, info = torch.linalg.cholesky_ex(M)
    if info.item() != 0:
        raise CurvatureError(
            f"A {len(M)} x {len(M)} covariance is not positive definite "
            f"(its leading minor {info.item()} is not).",
            "Raise the damping, or use more calibration text.",
        )
    return L


def inverse(M: Tensor) -> Tensor:
    """Return M^-1, n x n."""
    return torch.cholesky_inverse(cholesky(M))


def inverses(M: Tensor) -> Tensor:
    """Return the inverses of a batch of small M; b x n x n.

    They are computed from Cholesky factors: the LU factors of `torch.linalg.inv` failed
    on a busy CPU with pivots of 0, for blocks that passed when tried again.

    Raises:
        CurvatureError: an M is not positive definite.
    """
    L, info = torch.linalg.cholesky_ex(M)
    if bool(info.any()):
        first = int(info.ne(0).nonzero()[0])
        raise CurvatureError(
            f"Block {first + 1} of {len(M)} ({M.shape[-1]} x {M.shape[-1]} each) of an "
            "inverse covariance is not positive definite.",
            "Raise the damping, or use more calibration text.",
        )
    return torch.cholesky_inverse(L)


def solve(M: Tensor, B: Tensor) -> Tensor:
    """Return M^-1 B, n x k."""
    return torch.cholesky_solve(B, cholesky(M))
