"""Update the kept weights to compensate for single removed weights.

    W   R x C   weight (with a bias: C+1, whose column is never removed)
    A   C x C   input activation covariance, damped
    G   R x R   output gradient covariance, damped
    Q           the removed weights, as a mask; K: the kept ones

The increase of the loss by a change D of W is 1/2 tr(G D A D'); among all weights that
are zero in Q, it is smallest where its gradient G D A vanishes in K. Two updates:

*Grouped* (LLM Surgeon, arXiv 2312.17244): at most `max_correlated` removed weights at a
time. With C = [G^-1]_QrQr o [A^-1]_QcQc, the group's own exact solution is
W -= G^-1 S A^-1, where S holds C^-1 w_Q at Q and is zero elsewhere. Each group works on
the weights that the groups before have updated, but does not know that those removed
before must stay zero.

*Whole*: all removed weights together, by conjugate gradients over K. The preconditioner
is the diagonal, G_rr A_cc, and a step costs two products of W with a factor. With the
inverses it costs four and with the eigenbases six; they need as many steps and half as
many. The steps are taken in float32: its rounding error is far below the error of
ending the search.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon_engine.base.errors import CurvatureError
from surgeon_engine.runtime import linalg

_MAX_STEPS = 500  # some dozens are usual
_DTYPE = torch.float32
_TOLERANCE = 1e-3  # relative gain of a step at which the search ends
_ROUNDING = 1e-5  # share of the initial quadratic that float32 cannot resolve


def grouped_update(
    W: Tensor, A: Tensor, G: Tensor, is_removed: Tensor, max_correlated: int
) -> Tensor:
    """Return W updated without Q, group after group, row by row.  Shape of W."""
    inverse_A, inverse_G = linalg.inverse(A), linalg.inverse(G)
    X = W.clone()
    row, column = is_removed.nonzero(as_tuple=True)
    for r, c in zip(
        row.split(max_correlated), column.split(max_correlated), strict=True
    ):
        C = inverse_G[r][:, r] * inverse_A[c][:, c]
        rows, index = r.unique(return_inverse=True)
        S = X.new_zeros(len(rows), W.shape[1])
        S[index, c] = linalg.solve(C, X[r, c].unsqueeze(1).clone).squeeze(1)
        X -= inverse_G[:, rows] @ (S @ inverse_A)
    X[row, column] = 0
    return X


def whole_update(W: Tensor, A: Tensor, G: Tensor, is_removed: Tensor) -> Tensor:
    """Return the best W without Q.  Shape of W.

    Raises:
        CurvatureError: the search has not converged in the maximum number of steps.
    """
    kept = torch.ones_like(W, dtype=torch.bool)
    kept[:, : is_removed.shape[1]] = ~is_removed
    A, G = _scaled(A), _scaled(G)
    D = torch.where(kept, 0, -W).to(_DTYPE)
    residual = -G @ D @ A
    quadratic = initial = -_dot(D, residual)  # twice the quadratic
    residual = torch.where(kept, residual, 0)
    diagonal = G.diagonal().unsqueeze(1) * A.diagonal()
    z = residual / diagonal
    direction, product = z, _dot(residual, z)
    for _ in range(_MAX_STEPS):
        if product == 0:  # at the minimum
            return torch.where(kept, W + D, 0)
        curved = torch.where(kept, G @ direction @ A, 0)
        length = product / _dot(direction, curved)
        D += length * direction
        gain = length * product
        quadratic -= gain
        if gain <= _TOLERANCE * max(quadratic, _ROUNDING * initial):
            return torch.where(kept, W + D, 0)
        residual -= length * curved
        z = residual / diagonal
        before, product = product, _dot(residual, z)
        direction = z + product / before * direction
    raise CurvatureError(
        "The update of a {rows} x {columns} layer has not converged in {steps} steps.",
        "Raise the damping of the update, or set {setting:choice} to about 1000.",
        setting="pruning.max_correlated",
        rows=len(W),
        columns=W.shape[1],
        steps=_MAX_STEPS,
    )


def _scaled(M: Tensor) -> Tensor:
    """Return M divided by its mean eigenvalue, which changes no solution.

    Products of the squares of small gradients would leave the range of float32.
    """
    return (M / M.diagonal().mean()).to(_DTYPE)


def _dot(M: Tensor, N: Tensor) -> float:
    """Return tr(M N'), summed in float64."""
    products = M * N
    if products.device.type == "mps":
        products = products.cpu()  # it has no float64
    return float(products.sum(dtype=torch.float64))
