"""Methods whose costs and updates come from a quadratic of the loss in the weights.

    W   R x C   weight (with a bias: C+1)
    A, G        factors of the layer's quadratic 1/2 tr(G D A D'), as the method sees
                them: a factor that it does not measure is the identity

The baselines K-OBD, L-OBD, magnitude and Wanda rank removals by it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from surgeon_engine.api.config.n_m import NM
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.curvature.measured import KroneckerFactors, Measured
from surgeon_engine.pruning.costs import (
    Stiffness,
    column_costs,
    column_group_costs,
    element_costs,
    pattern_costs,
    row_costs,
)
from surgeon_engine.pruning.methods.base import (
    Allocation,
    MatrixMethod,
    MeasuredLayer,
    Needs,
)


class QuadraticMethod(MatrixMethod):
    """Costs from a quadratic, while the kept weights stay as they are: OBD."""

    needs: ClassVar[Needs]
    allocation: ClassVar[Allocation] = Allocation.GLOBAL

    @override
    def group_costs(self, layer: MeasuredLayer, column: Tensor, groups: int) -> Tensor:
        A, G = self.quadratic(layer.W, layer.measured)
        stiffness = self.stiffness(A[column][:, column], layer.damping)
        return column_group_costs(layer.W[:, column], G, stiffness, groups)

    @override
    def row_costs(self, layer: MeasuredLayer, row: Tensor, column: Tensor) -> Tensor:
        A, G = self.quadratic(layer.W, layer.measured)
        A, G = A[column][:, column], G[row][:, row]
        return row_costs(layer.W[row][:, column], A, self.stiffness(G, layer.damping))

    @override
    def column_costs(self, layer: MeasuredLayer, row: Tensor, column: Tensor) -> Tensor:
        A, G = self.quadratic(layer.W, layer.measured)
        A, G = A[column][:, column], G[row][:, row]
        stiffness = self.stiffness(A, layer.damping)
        return column_costs(layer.W[row][:, column], G, stiffness)

    @override
    def element_costs(self, layer: MeasuredLayer) -> Tensor:
        return element_costs(layer.W, *self.stiffnesses(layer))

    @override
    def pattern_costs(self, layer: MeasuredLayer, pattern: NM) -> tuple[Tensor, Tensor]:
        W = layer.W[:, : layer.columns]
        of_A, of_G = self.stiffnesses(layer)
        return pattern_costs(W, of_A, of_G, pattern.kept, pattern.of)

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
        return Stiffness(M)

    def stiffnesses(self, layer: MeasuredLayer) -> tuple[Stiffness, Stiffness]:
        """Return the stiffnesses of A and G for the removal of single weights."""
        A, G = self.quadratic(layer.W, layer.measured)
        return self.stiffness(A, layer.damping), self.stiffness(G, layer.damping)


class UpdatingMethod(QuadraticMethod):
    """Costs from a quadratic, and an update of the kept weights: OBS."""

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


class KObd(QuadraticMethod):
    """K-OBD: Optimal Brain Damage with the quadratic G kron A.

    The cost is 1/2 w_Q' (G kron A)_QQ w_Q, the Kronecker-factored baseline of the LLM
    Surgeon (arXiv 2312.17244).
    """

    needs: ClassVar = Needs.INPUTS_AND_GRADIENTS


class LObd(QuadraticMethod):
    """L-OBD: Optimal Brain Damage with the quadratic I kron A.

    The cost 1/2 w_Q' (I kron A)_QQ w_Q is half the mean squared change of the layer's
    output. The effect on later layers is ignored (LLM Surgeon, arXiv 2312.17244).
    """

    needs: ClassVar = Needs.INPUTS


class Magnitude(QuadraticMethod):
    """Magnitude pruning: the quadratic is the identity.

    The cost is half the sum of the squared weights. No text is read.
    """

    needs: ClassVar = Needs.NOTHING


class Wanda(QuadraticMethod):
    """Wanda: the quadratic is the diagonal of A, compared within each row.

    The score of Wanda (Sun et al., arXiv 2306.11695) is |W_rc| times the norm of input
    c. Its square 1/2 W_rc^2 A_cc orders a row alike. Every row loses the same share.
    """

    needs: ClassVar = Needs.INPUTS
    allocation: ClassVar = Allocation.ROW

    @override
    def quadratic(self, W: Tensor, measured: Measured) -> tuple[Tensor, Tensor]:
        A, G = super().quadratic(W, measured)
        return A.diagonal().diag(), G


def _identity(n: int, like: Tensor) -> Tensor:
    return torch.eye(n, dtype=like.dtype, device=like.device)


def _measured(M: Tensor | None, like: Tensor) -> Tensor:
    assert M is not None, "a method uses a factor that it did not ask for"
    return M.to(like)
