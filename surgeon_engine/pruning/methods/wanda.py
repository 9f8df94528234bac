"""Wanda: |W_rc| times the norm of input c, compared within each output row.

(Sun et al., arXiv 2306.11695.) Its square, 1/2 W_rc^2 A_cc, orders a row alike and is
the OBD cost under the diagonal of A. Every row loses the same share; nothing adapts.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.pruning.methods.base import (
    Allocation,
    Needs,
    PruningMethod,
)


class Wanda(PruningMethod):
    """OBD with the diagonal of A, row by row."""

    needs: ClassVar = Needs.INPUTS
    allocation: ClassVar = Allocation.ROW

    def quadratic(self, W: Tensor, factors: KroneckerFactors) -> tuple[Tensor, Tensor]:
        """See `Method.quadratic`."""
        A, G = super().quadratic(W, factors)
        return A.diagonal().diag(), G
