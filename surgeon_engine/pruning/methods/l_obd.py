"""L-OBD: the costs of a layer's own squared error, from its inputs alone.

1/2 w_Q' (I kron A)_QQ w_Q is half the mean squared change of the layer's output; what
the rest of the model makes of that change is not asked (LLM Surgeon, arXiv 2312.17244).
"""

from __future__ import annotations

from typing import ClassVar

from surgeon_engine.pruning.methods.base import (
    Needs,
    PruningMethod,
)


class LObd(PruningMethod):
    """OBD with A, and G the identity."""

    needs: ClassVar = Needs.INPUTS
