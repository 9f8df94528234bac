"""Fit the weight of a layer to targets by least squares with a ridge.

    X   n x C   inputs (with a bias: C+1, the last one 1)
    Y   n x R   targets
    W   R x C   weight before
    W'          argmin |X W'^T - Y|^2 + d |W' - W|^2

The sums X'X and X'Y are enough: W' (X'X + d I) = Y'X + d W. The ridge is `d`, a
multiple of the mean diagonal of X'X. Removed weights stay zero. Where they are whole
rows and columns, the solution is exact; elsewhere each row has unknowns of its own, and
conjugate gradients solve all rows together. The largest ridge needs the fewest steps,
so it comes first, and each solution is the start of the next.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from surgeon_engine.planning.constants import SUMS_ON_HOST
from surgeon_engine.runtime import devices, ranks
from surgeon_engine.runtime.linalg import solve

RIDGES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
EXACT = 2e-5  # smaller relative errors come from 16-bit products
_COLUMNS = 512  # columns per step of the error computation
_STEPS = 100  # conjugate gradients, at most
_TOLERANCE = 1e-4  # residual relative to the right side


@dataclass(slots=True, eq=False)
class NormalEquations:
    """Sums over inputs and targets; they start at zero."""

    XX: Tensor  # C x C
    XY: Tensor  # C x R
    _squares: list[Tensor] = field(default_factory=list)  # |Y|^2 of each batch

    @classmethod
    def zeros(cls, columns: int, rows: int, device: torch.device) -> NormalEquations:
        """Return sums over nothing, float32."""
        return cls(
            torch.zeros(columns, columns, device=device),
            torch.zeros(columns, rows, device=device),
        )

    def with_same_inputs(self, rows: int) -> NormalEquations:
        """Return sums over nothing for other targets, which share the sum of inputs."""
        return NormalEquations(self.XX, self.XY.new_zeros(len(self.XX), rows))

    def add(self, X: Tensor, Y: Tensor) -> None:
        """Add inputs and targets, a row for each token, float32."""
        with devices.tf32_products(X.device):
            self.XX.addmm_(X.T, X)
        self.add_targets(X, Y)

    def add_targets(self, X: Tensor, Y: Tensor) -> None:
        """Add targets; their inputs were added to sums with the same sum of inputs."""
        with devices.tf32_products(X.device):
            self.XY.addmm_(X.T, Y)
        self._squares.append(Y.square().sum())

    @staticmethod
    def move_to_host(each: Sequence[NormalEquations]) -> None:
        """Move sums to the host that would take a large part of a GPU.

        Parts of them come back while an error is computed.
        """
        XX = each[0].XX
        if XX.device.type == "cpu" or XX.nbytes < SUMS_ON_HOST:
            return
        XX = _on_host(XX)
        for sums in each:
            sums.XX, sums.XY = XX, _on_host(sums.XY)

    @staticmethod
    def add_up(each: Sequence[NormalEquations]) -> None:
        """Add the sums of all processes."""
        if ranks.size() == 1:
            return  # as the sums of batches are added up by `error`
        totals = [
            functools.reduce(operator.add, sums._squares, sums.XX.new_zeros(()))
            for sums in each
        ]
        squares = torch.stack(totals).double()
        # Some share the sum of inputs.
        shared = {id(x): x for sums in each for x in (sums.XX, sums.XY)}
        ranks.add([*shared.values(), squares])
        for sums, total in zip(each, squares, strict=True):
            sums._squares[:] = [total]

    def error(self, W: Tensor) -> float:
        """Return the squared error |X W' - Y|^2 relative to |Y|^2."""
        explained = 2 * (self.XY.to(W.device).T * W).sum()
        # XX is symmetric, so that its rows are its columns.
        for columns, of_W in zip(
            self.XX.split(_COLUMNS), W.split(_COLUMNS, dim=1), strict=True
        ):
            explained -= (W @ columns.to(W.device).T * of_W).sum()
        # The device is waited for once, and not for each batch.
        *squares, explained = torch.stack([*self._squares, explained]).tolist()
        YY = functools.reduce(operator.add, squares, 0.0)  # `sum` rounds otherwise
        return (YY - explained) / (YY or 1.0)


@dataclass(frozen=True, slots=True)
class FitResult:
    """The ridge of a fit, and the relative held-out errors before and after it."""

    ridge: float | None  # None: no ridge made it better; W is as it was
    before: float
    after: float


def fit(
    W: Tensor, zeros: Tensor, fitted: NormalEquations, held_out: NormalEquations
) -> tuple[Tensor, FitResult]:
    """Return the best W' among the ridges, judged by its held-out error.

    The search ends where the error rises. W itself is returned if no error is smaller.

    Args:
        W: R x C, the weight before.
        zeros: R x C, mask of the weights that stay zero.
        fitted: sums over the inputs and targets to fit.
        held_out: sums over others, which judge.
    """
    W = W.float()
    best, found, before = W, None, held_out.error(W)
    lowest = before
    if before < EXACT:
        return W, FitResult(None, before, before)
    candidate, last = W, math.inf
    for ridge in RIDGES:
        candidate = solution(W, zeros, fitted, ridge, start=candidate)
        error = held_out.error(candidate)
        if error > last:
            break
        last = error
        if error < lowest:
            best, found, lowest = candidate, ridge, error
    return best, FitResult(found, before, lowest)


def solution(
    W: Tensor,
    zeros: Tensor,
    sums: NormalEquations,
    ridge: float,
    start: Tensor | None = None,
) -> Tensor:
    """Return W' for a ridge.  Shape of W.

    Conjugate gradients begin at `start`, by default W.

    Raises:
        CurvatureError: the sums are not finite.
    """
    row, column = ~zeros.all(dim=1), ~zeros.all(dim=0)
    if not (row.any() and column.any()):
        return torch.zeros_like(W)
    has_all_columns = bool(column.all())
    is_whole = has_all_columns and bool(row.all())

    def part(x: Tensor) -> Tensor:
        return x if is_whole else x[row][:, column]

    M = sums.XX if has_all_columns else sums.XX[column][:, column]
    diagonal = M.diagonal()
    without_ridge = diagonal.clone()
    d = ridge * float(diagonal.mean())
    diagonal.add_(d or 1.0)

    def right() -> Tensor:
        return (d * part(W)).add_(part(sums.XY.T))

    rest = part(zeros)
    try:
        if rest.any():
            begin = part(W if start is None else start).masked_fill(rest, 0)
            found = _conjugate_gradients(M, right(), ~rest, begin)
        else:
            found = solve(M, lambda: right().T).T
    finally:
        diagonal.copy_(without_ridge)  # M may be the sums themselves and no copy
    if is_whole:
        return found
    result = torch.zeros_like(W)
    result[row.nonzero(), column.nonzero().T] = found
    return result


def _on_host(x: Tensor) -> Tensor:
    host = devices.empty_on_host(x, x.device)
    host.copy_(x)
    return host


def _conjugate_gradients(
    M: Tensor, right: Tensor, kept: Tensor, start: Tensor
) -> Tensor:
    """Return V with V M = right at the kept weights of each row, and 0 elsewhere.

    Each row is a problem of its own; M's diagonal preconditions all of them.
    """
    scale = 1 / M.diagonal()
    V = start
    residual = (right - V @ M) * kept
    Z = residual * scale
    P = Z
    rho = (residual * Z).sum(dim=1)
    limit = _TOLERANCE**2 * (right * kept).square().sum(dim=1)
    for _ in range(_STEPS):
        active = residual.square().sum(dim=1) > limit
        if not active.any():
            break
        Q = (P @ M) * kept
        alpha = torch.where(active, rho / (P * Q).sum(dim=1).clamp_min(1e-30), 0)
        V = V + alpha.unsqueeze(1) * P
        residual = residual - alpha.unsqueeze(1) * Q
        Z = residual * scale
        new = (residual * Z).sum(dim=1)
        P = Z + torch.where(active, new / rho.clamp_min(1e-30), 0).unsqueeze(1) * P
        rho = new
    return V
