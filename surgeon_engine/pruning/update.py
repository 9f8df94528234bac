"""Update the kept weights to compensate for removed rows and columns.

    W   R x C   weight (a bias is a last column, which is never removed)
    A   C x C   input activation covariance, damped
    G   R x R   output gradient covariance, damped
    K, J        kept rows and columns; R, C as suffixes: the removed ones

The increase of the loss by a change D of W is 1/2 tr(G D A D'). Among all weights whose
removed rows and columns are zero, it is smallest for
    X = G_KK^-1 G_K: W A_:J A_JJ^-1.
The two sides are independent: fold the removed rows into the kept ones, then the
removed columns,
    Y = W_K + G_KK^-1 G_KR W_R        X = Y_J + Y_C A_CJ A_JJ^-1,
at the cost of two Cholesky solves. The paper's code adds the two corrections, each
computed from W; that misses their product.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon_engine.runtime import linalg


def joint_update(
    W: Tensor, A: Tensor, G: Tensor, row_is_removed: Tensor, column_is_removed: Tensor
) -> Tensor:
    """Return the exact minimizer, zero in removed rows and columns.  Shape of W."""
    return fold_columns(fold_rows(W, G, row_is_removed), A, column_is_removed)


def separate_update(
    W: Tensor, A: Tensor, G: Tensor, row_is_removed: Tensor, column_is_removed: Tensor
) -> Tensor:
    """Return W plus the row and the column correction, as the paper's code does."""
    by_rows = fold_rows(W, G, row_is_removed)
    by_columns = fold_columns(W, A, column_is_removed)
    updated = by_rows + by_columns - W
    updated[row_is_removed] = 0
    updated[:, column_is_removed] = 0
    return updated


def fold_rows(W: Tensor, G: Tensor, row_is_removed: Tensor) -> Tensor:
    """Return the best W without the removed rows: Y in the header.  Shape of W."""
    if not row_is_removed.any():
        return W.clone()
    kept = ~row_is_removed
    correction = linalg.solve(
        G[kept][:, kept], lambda: G[kept][:, row_is_removed] @ W[row_is_removed]
    )
    folded = torch.zeros_like(W)
    folded[kept] = W[kept] + correction
    return folded


def fold_columns(W: Tensor, A: Tensor, column_is_removed: Tensor) -> Tensor:
    """Return the best W without the removed columns: X in the header."""
    return fold_rows(W.T, A, column_is_removed).T
