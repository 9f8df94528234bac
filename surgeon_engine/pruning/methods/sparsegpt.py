"""SparseGPT: one sweep over the columns of a layer, each row adapting as it goes.

(Frantar and Alistarh, arXiv 2301.00774.) With A = L L' damped and A^-1 = U' U, U upper
triangular, removing weight c of a row after those left of it have been dealt with costs
1/2 (w_c / U_cc)^2 and moves the weights right of it by -(w_c / U_cc) U_c,: . Which
weights go is decided for 128 columns at a time, on weights that have already adapted:
each such run loses the same share, that of its layer.

The inputs are those of the model at the start of the shot, not of the layers already
pruned in it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import NM, PruningConfig
from surgeon_engine.pruning.costs import AdaptedStiffness, PlainStiffness, Stiffness
from surgeon_engine.pruning.methods.base import Allocation, Needs, PruningMethod
from surgeon_engine.runtime.linalg import cholesky, damped, inverse

_COLUMNS_AT_ONCE = 128  # as in the paper's experiments


class SparseGpt(PruningMethod):
    """OBS with A, column by column."""

    needs: ClassVar = Needs.INPUTS
    allocation: ClassVar = Allocation.LAYER

    def stiffness(self, M: Tensor, damping: float) -> Stiffness:
        """See `Method.stiffness`."""
        return AdaptedStiffness(inverse(damped(M, damping)))

    def stiffnesses(
        self, quadratic: tuple[Tensor, Tensor], damping: float
    ) -> tuple[Stiffness, Stiffness]:
        """See `Method.stiffnesses`; of G, the identity, there is nothing to invert."""
        A, G = quadratic
        return self.stiffness(A, damping), PlainStiffness(G)

    def without_elements(
        self,
        W: Tensor,
        quadratic: tuple[Tensor, Tensor],
        is_removed: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        """As many zeros as `is_removed` has, but chosen along the sweep."""
        U = cholesky(inverse(damped(quadratic[0], pruning.fixed_damping.cost))).T
        X = W.clone()
        goes = torch.zeros_like(is_removed)
        C, total = is_removed.shape[1], int(is_removed.sum())
        if isinstance(pruning.structure, NM):
            group, removed = pruning.structure.of, pruning.structure.removed
        else:
            group, removed = _COLUMNS_AT_ONCE, 0
        for start in range(0, C, group):
            end = min(start + group, C)
            cost = (X[:, start:end] / U.diagonal()[start:end]).square()
            cost.masked_fill_(W[:, start:end] == 0, -1)  # what has gone stays gone
            if removed:
                asked = is_removed[:, start:end]
                goes[:, start:end] = _least_of_each_row(cost, asked, removed)
            else:
                count = total * end // C - total * start // C
                goes[:, start:end] = _least(cost, count)
            for c in range(start, end):
                error = torch.where(goes[:, c], X[:, c], 0) / U[c, c]
                X[:, c:] -= error.unsqueeze(1) * U[c, c:]
        X[:, :C][goes] = 0
        return X, goes


def _least(cost: Tensor, count: int) -> Tensor:
    """The `count` cheapest of all.  Shape of cost, bool."""
    goes = torch.zeros(cost.numel(), dtype=torch.bool, device=cost.device)
    goes[cost.flatten().argsort(stable=True)[:count]] = True
    return goes.view_as(cost)


def _least_of_each_row(cost: Tensor, asked: Tensor, removed: int) -> Tensor:
    """The `removed` cheapest of each row in which any are asked for."""
    goes = torch.zeros_like(asked)
    goes.scatter_(1, cost.argsort(dim=1, stable=True)[:, :removed], True)
    return goes & asked.any(dim=1, keepdim=True)
