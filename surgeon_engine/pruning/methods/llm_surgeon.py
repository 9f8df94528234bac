"""The LLM Surgeon: OBS with both factors, updating all kept weights of a layer.

(van der Ouderaa et al., arXiv 2312.17244.) Removed rows and columns are folded into the
kept ones by the exact joint solution, or by the sum of the two corrections as in the
paper's code; single weights in groups of `max_correlated`, or all of a layer together
(`update.py`, `sparse_update.py`).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from surgeon_engine.api.config.pruning import PruningConfig, UpdateKind
from surgeon_engine.pruning.costs import Stiffness
from surgeon_engine.pruning.methods.base import Needs
from surgeon_engine.pruning.methods.quadratic import UpdatingMethod
from surgeon_engine.pruning.sparse_update import grouped_update, whole_update
from surgeon_engine.pruning.update import joint_update, separate_update
from surgeon_engine.runtime.linalg import damped, inverse

_UPDATES = {UpdateKind.JOINT: joint_update, UpdateKind.SEPARATE: separate_update}


class LlmSurgeon(UpdatingMethod):
    """OBS with A and G, and correlated updates."""

    needs: ClassVar = Needs.INPUTS_AND_GRADIENTS

    @override
    def stiffness(self, M: Tensor, damping: float) -> Stiffness:
        if not M.any():  # nothing that counts depends on the layer
            return Stiffness(M)
        return Stiffness(inverse(damped(M, damping)), is_inverse=True)

    @override
    def prune_rows_columns(
        self,
        W: Tensor,
        quadratic: tuple[Tensor, Tensor],
        row_is_removed: Tensor,
        column_is_removed: Tensor,
        pruning: PruningConfig,
    ) -> Tensor:
        A, G = (damped(M, pruning.update_damping) for M in quadratic)
        update = _UPDATES[pruning.update]
        return update(W, A, G, row_is_removed, column_is_removed)

    @override
    def prune_elements(
        self,
        W: Tensor,
        quadratic: tuple[Tensor, Tensor],
        is_removed: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        A, G = (damped(M, pruning.update_damping) for M in quadratic)
        if group_size := pruning.max_correlated:
            X = grouped_update(W, A, G, is_removed, group_size)
        else:
            X = whole_update(W, A, G, is_removed)
        return X, is_removed
