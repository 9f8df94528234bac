"""K-OBD: the costs of both factors, and the kept weights stay as they are.

1/2 w_Q' (G kron A)_QQ w_Q: the Kronecker-factored form of Optimal Brain Damage that the
LLM Surgeon (arXiv 2312.17244) is compared with.
"""

from __future__ import annotations

from typing import ClassVar

from surgeon_engine.pruning.methods.base import (
    Needs,
    PruningMethod,
)


class KObd(PruningMethod):
    """OBD with A and G."""

    needs: ClassVar = Needs.INPUTS_AND_GRADIENTS
