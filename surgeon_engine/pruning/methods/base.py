"""What a method is: the quadratic it sees, what that costs, and how the rest adapts.

    W   R x C   weight (with a bias: C+1)
    A, G        the factors of the layer's quadratic 1/2 tr(G D A D'), as the method
                sees them: what it does not measure is the identity

Everything here takes tensors and gives tensors.
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
    """What has to be measured on the calibration text."""

    NOTHING = "nothing"
    INPUTS = "inputs"  # A: a forward is enough
    INPUTS_AND_GRADIENTS = "inputs and gradients"  # A and G


class Allocation(Enum):
    """What competes with what for staying."""

    GLOBAL = "global"  # everything in the model: one threshold on the costs
    LAYER = "layer"  # the weights of a layer: every layer loses the same share
    ROW = "row"  # the weights of an output row: every row does


class PruningMethod:
    """Costs without an update: OBD. Methods that adapt the rest override more."""

    needs: ClassVar[Needs]
    allocation: ClassVar[Allocation] = Allocation.GLOBAL

    def quadratic(self, W: Tensor, factors: KroneckerFactors) -> tuple[Tensor, Tensor]:
        """A and G as the method sees them, float64 on the device of W.

        What has been measured for something else, and is not needed, is not looked at.
        """
        looks_at_A = self.needs is not Needs.NOTHING
        looks_at_G = self.needs is Needs.INPUTS_AND_GRADIENTS
        return (
            _measured(factors.A, W) if looks_at_A else _identity(W.shape[1], W),
            _measured(factors.G, W) if looks_at_G else _identity(W.shape[0], W),
        )

    def stiffness(self, M: Tensor, damping: float) -> Stiffness:
        """What M opposes to a removal."""
        del damping  # nothing is inverted
        return PlainStiffness(M)

    def stiffnesses(
        self, quadratic: tuple[Tensor, Tensor], damping: float
    ) -> tuple[Stiffness, Stiffness]:
        """What A and G oppose to the removal of single weights."""
        A, G = quadratic
        return self.stiffness(A, damping), self.stiffness(G, damping)

    def without(
        self,
        W: Tensor,
        quadratic: tuple[Tensor, Tensor],
        row_is_removed: Tensor,
        column_is_removed: Tensor,
        pruning: PruningConfig,
    ) -> Tensor:
        """W without the removed rows and columns.  Shape of W."""
        del quadratic, pruning
        return W.masked_fill(row_is_removed.unsqueeze(1) | column_is_removed, 0)

    def without_elements(
        self,
        W: Tensor,
        quadratic: tuple[Tensor, Tensor],
        is_removed: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        """W without the removed elements (R x C, bool), and which those are."""
        del quadratic, pruning
        X = W.clone()
        X[:, : is_removed.shape[1]][is_removed] = 0
        return X, is_removed


def _identity(n: int, like: Tensor) -> Tensor:
    return torch.eye(n, dtype=torch.float64, device=like.device)


def _measured(M: Tensor | None, like: Tensor) -> Tensor:
    assert M is not None, "a method looks at what it did not ask for"
    return M.double().to(like.device)
