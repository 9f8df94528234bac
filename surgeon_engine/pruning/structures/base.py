"""What a structure is to the pipeline: units, each with candidates for removal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from surgeon_engine.api.config.layer_patterns import min_kept_share
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.pruning.threshold import Elements, Removals


@dataclass(frozen=True, slots=True, eq=False)
class Updated:
    """What a unit is once something of it is gone and the rest has adapted."""

    weights: list[tuple[PrunableLayer, Tensor]]  # W of each of its layers
    removed: Tensor  # candidates, bool


class Unit(Protocol):
    """Part of a model whose removals depend on the factors of one layer.

    Which candidates are gone is a bool tensor that the caller keeps; a unit has no
    state beyond the weights of its layers, and only reads those.

    Rows, columns and groups that have gone before are out of the quadratic altogether:
    their weights are to stay zero, so they can make up for nothing, and their share of
    a factor's diagonal (near zero, once nothing flows there) must not dilute the
    damping of the rest. Single weights leave no row or column of a factor out: costs
    take those that have gone for such as could still make up for others.
    """

    @property
    def measured(self) -> PrunableLayer:
        """The layer whose factors it needs; its name is the unit's."""

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """All layers of which something goes with a removal."""

    @property
    def candidates(self) -> int:
        """How many things could be removed."""

    def removals(
        self, factors: KroneckerFactors, before: Tensor, pruning: PruningConfig
    ) -> Removals | Elements:
        """What may go and what that costs; first of all what has gone `before`."""

    def updated(
        self,
        factors: KroneckerFactors,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> Updated:
        """The weights of its layers once `after` is gone and the rest has adapted.

        The factors were measured when `before` was gone. A method that chooses along
        the way has others go than `after`, but as many.
        """

    def zeros(self, removed: Tensor) -> list[tuple[PrunableLayer, Tensor]]:
        """Which weights of each of its layers are gone, in the shape of W."""


def share_to_keep(layers: tuple[PrunableLayer, ...], pruning: PruningConfig) -> float:
    """The share of the weights of a unit with these layers that has to stay."""
    return min_kept_share(pruning.min_density, pruning.layer_min_density, layers)
