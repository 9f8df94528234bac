"""The baselines: K-OBD, L-OBD, magnitude and Wanda.

Each is a quadratic whose cost ranks removals. The kept weights do not change.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from surgeon_engine.pruning.methods.base import Allocation, Measured, Needs
from surgeon_engine.pruning.methods.quadratic import QuadraticMethod


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
