"""The interface of pruning methods: the quadratic, the costs, the update.

    W   R x C   weight (with a bias: C+1)
    A, G        factors of the layer's quadratic 1/2 tr(G D A D'), as the method sees
                them: a factor that it does not measure is the identity

All functions take tensors and return tensors.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.pruning.costs import PlainStiffness, Stiffness


class Needs(Enum):
    """The measurements on the calibration text that a method needs."""

    NOTHING = "nothing"
    INPUTS = "inputs"  # A: a forward is enough
    INPUTS_AND_GRADIENTS = "inputs and gradients"  # A and G


class Allocation(Enum):
    """The weights among which costs are compared."""

    GLOBAL = "global"  # all of the model: one threshold on the costs
    LAYER = "layer"  # the weights of a layer: every layer loses the same share
    ROW = "row"  # the weights of an output row: every row loses the same share


class PruningMethod:
    """A method without an update: OBD. Methods with an update override more."""

    needs: ClassVar[Needs]
    allocation: ClassVar[Allocation] = Allocation.GLOBAL

    def quadratic(self, W: Tensor, factors: KroneckerFactors) -> tuple[Tensor, Tensor]:
        """Return A and G as the method sees them, float64 on the device of W.

        Factors that were measured but that the method does not need are ignored.
        """
        uses_A = self.needs is not Needs.NOTHING
        uses_G = self.needs is Needs.INPUTS_AND_GRADIENTS
        return (
            _measured(factors.A, W) if uses_A else _identity(W.shape[1], W),
            _measured(factors.G, W) if uses_G else _identity(W.shape[0], W),
        )

    def stiffness(self, M: Tensor, damping: float) -> Stiffness:
        """Return the stiffness of a factor."""
        del damping  # nothing is inverted
        return PlainStiffness(M)

    def stiffnesses(
        self, quadratic: tuple[Tensor, Tensor], damping: float
    ) -> tuple[Stiffness, Stiffness]:
        """Return the stiffness of A and that of G for the removal of single weights."""
        A, G = quadratic
        return self.stiffness(A, damping), self.stiffness(G, damping)

    def prune_rows_columns(
        self,
        W: Tensor,
        quadratic: tuple[Tensor, Tensor],
        row_is_removed: Tensor,
        column_is_removed: Tensor,
        pruning: PruningConfig,
    ) -> Tensor:
        """Return W without the removed rows and columns.  Shape of W."""
        del quadratic, pruning
        return W.masked_fill(row_is_removed.unsqueeze(1) | column_is_removed, 0)

    def prune_elements(
        self,
        W: Tensor,
        quadratic: tuple[Tensor, Tensor],
        is_removed: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        """Return W without single weights, and the mask of the removed ones.

        A method may remove others than those in `is_removed` (R x C, bool), but not
        more or fewer.
        """
        del quadratic, pruning
        X = W.clone()
        X[:, : is_removed.shape[1]][is_removed] = 0
        return X, is_removed


def _identity(n: int, like: Tensor) -> Tensor:
    return torch.eye(n, dtype=torch.float64, device=like.device)


def _measured(M: Tensor | None, like: Tensor) -> Tensor:
    assert M is not None, "a method uses a factor that it did not ask for"
    return M.double().to(like.device)
