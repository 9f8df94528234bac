"""SparseGPT: one sweep over the columns of a layer that updates each row on the way.

(Frantar and Alistarh, arXiv 2301.00774.) With A = L L' damped and A^-1 = U' U, U upper
triangular, removing weight c of a row after the columns left of it are done costs
1/2 (w_c / U_cc)^2 and moves the weights right of it by -(w_c / U_cc) U_c,: . The
weights to remove are chosen for 128 columns at a time, after the updates so far: each
such block loses the same share as its layer.

The inputs come from the model at the start of the shot, not from the layers already
pruned in it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.pruning.costs import Stiffness
from surgeon_engine.pruning.methods.base import Allocation, MeasuredLayer, Needs
from surgeon_engine.pruning.methods.quadratic import UpdatingMethod
from surgeon_engine.runtime.linalg import cholesky, damped, inverse

_COLUMNS_AT_ONCE = 128  # as in the paper's experiments


class SparseGpt(UpdatingMethod):
    """OBS with A, column by column."""

    needs: ClassVar = Needs.INPUTS
    allocation: ClassVar = Allocation.LAYER

    @override
    def stiffness(self, M: Tensor, damping: float) -> Stiffness:
        return Stiffness(inverse(damped(M, damping)), is_inverse=True)

    @override
    def stiffnesses(self, layer: MeasuredLayer) -> tuple[Stiffness, Stiffness]:
        A, G = self.quadratic(layer.W, layer.measured)  # G is the identity
        return self.stiffness(A, layer.damping), Stiffness(G)

    @override
    def prune_elements(
        self,
        W: Tensor,
        quadratic: tuple[Tensor, Tensor],
        is_removed: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        U = cholesky(inverse(damped(quadratic[0], pruning.cost_damping))).T
        X = W.clone()
        chosen = torch.zeros_like(is_removed)
        C, total = is_removed.shape[1], int(is_removed.sum())
        if (pattern := pruning.n_m) is not None:
            group, removed = pattern.of, pattern.removed
        else:
            group, removed = _COLUMNS_AT_ONCE, 0
        for start in range(0, C, group):
            end = min(start + group, C)
            cost = (X[:, start:end] / U.diagonal()[start:end]).square()
            cost.masked_fill_(W[:, start:end] == 0, -1)  # removed before
            if removed:
                selected = is_removed[:, start:end]
                chosen[:, start:end] = _cheapest_of_rows(cost, selected, removed)
            else:
                count = total * end // C - total * start // C
                chosen[:, start:end] = _cheapest(cost, count)
            for c in range(start, end):
                error = torch.where(chosen[:, c], X[:, c], 0) / U[c, c]
                X[:, c:] -= error.unsqueeze(1) * U[c, c:]
        X[:, :C][chosen] = 0
        return X, chosen


def _cheapest(cost: Tensor, count: int) -> Tensor:
    """Return the `count` cheapest of all.  Shape of cost, bool."""
    mask = torch.zeros(cost.numel(), dtype=torch.bool, device=cost.device)
    mask[cost.flatten().argsort(stable=True)[:count]] = True
    return mask.view_as(cost)


def _cheapest_of_rows(cost: Tensor, selected: Tensor, count: int) -> Tensor:
    """Return the `count` cheapest of each row in which any are selected."""
    mask = torch.zeros_like(selected)
    mask.scatter_(1, cost.argsort(dim=1, stable=True)[:, :count], True)
    return mask & selected.any(dim=1, keepdim=True)
