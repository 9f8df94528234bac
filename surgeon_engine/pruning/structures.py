"""What a structure is to the pipeline: units, each with candidates for removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from surgeon_engine.config import PruningConfig, Structure
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.errors import PruningError
from surgeon_engine.model.coupling import coupled_groups, structure_support
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.pruning.heads_and_neurons import CoupledUnit
from surgeon_engine.pruning.rows_and_columns import RowsAndColumns
from surgeon_engine.pruning.threshold import Removals


class Unit(Protocol):
    """Part of a model whose removals depend on the factors of one layer.

    Which candidates are gone is a bool tensor that the caller keeps; a unit has no
    state beyond the weights of its layers, and only reads those.

    What has gone before is out of the quadratic altogether: its weights are to stay
    zero, so they can make up for nothing, and its share of a factor's diagonal (near
    zero, once nothing flows there) must not dilute the damping of the rest.
    """

    @property
    def measured(self) -> PrunableLayer:
        """The layer whose factors it needs; its name is the unit's."""

    @property
    def candidates(self) -> int:
        """How many things could be removed."""

    def removals(
        self, factors: KroneckerFactors, before: Tensor, pruning: PruningConfig
    ) -> Removals:
        """What may go, in order of cost; first of all what has gone `before`."""

    def updated(
        self,
        factors: KroneckerFactors,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> list[tuple[PrunableLayer, Tensor]]:
        """The weights of its layers once `after` is gone and the rest has adapted.

        The factors were measured when `before` was gone.
        """

    def removed_weights(self, gone: Tensor) -> list[tuple[PrunableLayer, int]]:
        """How many weights of its layers are gone."""


def units_of(
    structure: Structure, blocks: Sequence[nn.Module], layers: Sequence[PrunableLayer]
) -> tuple[Unit, ...]:
    """The units into which `structure` divides a model.

    Raises:
        PruningError: the model cannot be pruned in this structure.
    """
    for support in structure_support(blocks, layers):
        if support.structure is structure and not support.supported:
            raise PruningError(support.reason, "Choose rows and columns instead.")
    match structure:
        case Structure.HEADS_AND_NEURONS:
            return tuple(CoupledUnit(g) for g in coupled_groups(blocks, layers))
        case Structure.ROWS_AND_COLUMNS:
            return tuple(RowsAndColumns(layer) for layer in layers)
