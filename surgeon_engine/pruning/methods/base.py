"""The interface of pruning methods: the costs, and the update of the kept weights.

Most methods derive both from a quadratic:

    W   R x C   weight (with a bias: C+1)
    A, G        factors of the layer's quadratic 1/2 tr(G D A D'), as the method sees
                them: a factor that it does not measure is the identity

All functions take tensors and return tensors.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import NM, PruningConfig
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.curvature.gates import GateGradients
from surgeon_engine.pruning.costs import (
    PlainStiffness,
    Stiffness,
    column_costs,
    column_group_costs,
    element_costs,
    pattern_costs,
    row_costs,
)

Measured: TypeAlias = KroneckerFactors | GateGradients  # of one layer


class Needs(Enum):
    """The measurements on the calibration text that a method needs."""

    NOTHING = "nothing"
    INPUTS = "inputs"  # A: a forward is enough
    INPUTS_AND_GRADIENTS = "inputs and gradients"  # A and G
    GATES = "gates"  # the gate gradients


class Allocation(Enum):
    """The weights among which costs are compared."""

    GLOBAL = "global"  # all of the model: one threshold on the costs
    LAYER = "layer"  # the weights of a layer: every layer loses the same share
    ROW = "row"  # the weights of an output row: every row loses the same share


class PruningMethod:
    """A method with a quadratic and without an update: OBD."""

    needs: ClassVar[Needs]
    allocation: ClassVar[Allocation] = Allocation.GLOBAL
    updates: ClassVar[bool] = False  # whether kept weights change

    def group_costs(
        self,
        W: Tensor,
        measured: Measured,
        remaining: Tensor,
        groups: int,
        damping: float,
    ) -> Tensor:
        """Return the costs of `groups` equal runs of the remaining columns.

        Args:
            W: R x C, the weight.
            measured: what the method needs of the layer.
            remaining: the columns not removed before, bool.
            groups: the remaining groups.
            damping: of the costs.
        """
        A, G = self.quadratic(W, measured)
        stiffness = self.stiffness(A[remaining][:, remaining], damping)
        return column_group_costs(W[:, remaining], G, stiffness, groups)

    def row_costs(
        self, W: Tensor, measured: Measured, row: Tensor, column: Tensor, damping: float
    ) -> Tensor:
        """Return the costs of the remaining rows; `row` and `column` are masks."""
        A, G = self.quadratic(W, measured)
        A, G = A[column][:, column], G[row][:, row]
        return row_costs(W[row][:, column], A, self.stiffness(G, damping))

    def column_costs(
        self, W: Tensor, measured: Measured, row: Tensor, column: Tensor, damping: float
    ) -> Tensor:
        """Return the costs of the remaining columns; `row` and `column` are masks."""
        A, G = self.quadratic(W, measured)
        A, G = A[column][:, column], G[row][:, row]
        return column_costs(W[row][:, column], G, self.stiffness(A, damping))

    def element_costs(self, W: Tensor, measured: Measured, damping: float) -> Tensor:
        """Return the cost of each weight.  Shape of W."""
        of_A, of_G = self.stiffnesses(self.quadratic(W, measured), damping)
        return element_costs(W, of_A, of_G)

    def pattern_costs(
        self, W: Tensor, measured: Measured, columns: int, pattern: NM, damping: float
    ) -> tuple[Tensor, Tensor]:
        """Return the cheapest way to remove weights of each group (`costs`).

        Args:
            W: R x C, the weight.
            measured: what the method needs of the layer.
            columns: those with candidates: all but that of a bias.
            pattern: how many of how many weights are kept.
            damping: of the costs.
        """
        of_A, of_G = self.stiffnesses(self.quadratic(W, measured), damping)
        return pattern_costs(W[:, :columns], of_A, of_G, pattern.kept, pattern.of)

    def quadratic(self, W: Tensor, measured: Measured) -> tuple[Tensor, Tensor]:
        """Return A and G as the method sees them, in the dtype and device of W.

        Factors that were measured but that the method does not need are ignored.
        """
        assert isinstance(measured, KroneckerFactors)
        uses_A = self.needs is not Needs.NOTHING
        uses_G = self.needs is Needs.INPUTS_AND_GRADIENTS
        return (
            _measured(measured.A, W) if uses_A else _identity(W.shape[1], W),
            _measured(measured.G, W) if uses_G else _identity(W.shape[0], W),
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
        """Return W without rows and columns, the rest updated.  Shape of W."""
        raise NotImplementedError

    def prune_elements(
        self,
        W: Tensor,
        quadratic: tuple[Tensor, Tensor],
        is_removed: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        """Return W without single weights, the rest updated, and what was removed.

        A method may remove others than those in `is_removed` (R x C, bool), but not
        more or fewer.
        """
        raise NotImplementedError


def _identity(n: int, like: Tensor) -> Tensor:
    return torch.eye(n, dtype=like.dtype, device=like.device)


def _measured(M: Tensor | None, like: Tensor) -> Tensor:
    assert M is not None, "a method uses a factor that it did not ask for"
    return M.to(like)
