"""What it costs in loss to remove a row, a column or a group of columns of W.

    W   R x C   weight (with a bias: C+1); row = output feature, column = input feature
    A   C x C   input activation covariance
    G   R x R   output gradient covariance
    F = G kron A, the Fisher of row-major vec(W)

OBS: removing the index set Q and re-optimising the other weights costs
    1/2 w_Q' ([F^-1]_QQ)^-1 w_Q                      (LLM Surgeon, arXiv 2312.17244)
As F^-1 = G^-1 kron A^-1, the block [F^-1]_QQ of a row is [G^-1]_rr A^-1, that of a
set of columns [A^-1]_HH kron G^-1: no RC x RC matrix is ever formed. The factor that
is inverted is damped, the other one is not: damping stands for what is not known of
how the kept weights make up for the removed ones, not for a change of the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor


def row_costs(W: Tensor, A: Tensor, inverse_diagonal_G: Tensor) -> Tensor:
    """Cost of each row: 1/2 w_r A w_r' / [G^-1]_rr.  Shape R."""
    return 0.5 * ((W @ A) * W).sum(dim=1) / inverse_diagonal_G


def column_costs(W: Tensor, G: Tensor, inverse_diagonal_A: Tensor) -> Tensor:
    """Cost of each column: 1/2 w_c' G w_c / [A^-1]_cc.  Shape C."""
    return 0.5 * ((G @ W) * W).sum(dim=0) / inverse_diagonal_A


def column_group_costs(W: Tensor, G: Tensor, inverse_A: Tensor, groups: int) -> Tensor:
    """Cost of each of `groups` equal runs H of columns.  Shape groups.

    1/2 tr(W_H' G W_H ([A^-1]_HH)^-1). Columns beyond the last run (a bias) take no
    part.
    """
    R = len(W)
    size = W.shape[1] // groups
    W_H = W[:, : groups * size].reshape(R, groups, size)
    GW_H = (G @ W[:, : groups * size]).reshape(R, groups, size)
    quadratic = torch.einsum("rgi,rgj->gij", W_H, GW_H)  # groups x size x size
    blocks = torch.stack(
        [
            inverse_A[start : start + size, start : start + size]
            for start in range(0, groups * size, size)
        ]
    )
    solved = torch.linalg.solve(blocks, quadratic)
    return 0.5 * solved.diagonal(dim1=1, dim2=2).sum(dim=1)
