"""The interface of structures: units, each with candidates for removal."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.curvature.measured import Measured
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.pruning.threshold import ElementCosts, Removals


class Unit(Protocol):
    """A part of a model whose removals depend on the factors of one layer.

    The removed candidates are a bool tensor that the caller keeps; a unit has no state
    beyond the weights of its layers, and only reads those.

    Rows, columns and groups removed before are left out of the quadratic: their weights
    stay zero and cannot compensate for others, and their part of a factor's diagonal
    (near zero, as nothing flows there) must not dilute the damping of the rest. Single
    weights leave no row or column of a factor out: costs treat those removed before as
    if they could still compensate for others.
    """

    @property
    def measured(self) -> PrunableLayer:
        """The layer whose factors the unit needs; its name is the unit's."""

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """All layers from which a removal takes weights."""

    @property
    def candidates(self) -> int:
        """The number of candidates for removal."""

    def removals(
        self, measured: Measured, before: Tensor, pruning: PruningConfig
    ) -> Removals | ElementCosts:
        """Return the removable candidates in the order of their costs.

        Those removed `before`, bool, come first.
        """

    def updated(
        self,
        measured: Measured,
        before: Tensor,
        after: Tensor,
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        """Return W of the measured layer after a removal and the update of the rest.

        The other layers lose the weights of `zeros`, and are not updated. Return the
        removed candidates, too, bool. W is empty if no other weight changes.

        Args:
            measured: what the method needs of the measured layer, with `before`
                removed.
            before: the candidates removed before, bool.
            after: the candidates to be removed, including `before`. A method
                that chooses during its update may remove as many others.
            pruning: the settings.
        """

    def zeros(self, removed: Tensor) -> list[tuple[PrunableLayer, Tensor]]:
        """Return a mask of the removed weights of each layer, in the shape of its W."""
