"""The interface of pruning methods: the costs of removing parts of a layer.

A method whose costs come from a quadratic derives from `quadratic.QuadraticMethod`, one
that also updates the kept weights from `quadratic.UpdatingMethod`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from surgeon_engine.api.config.n_m import NM
from surgeon_engine.curvature.measured import Measured


class Needs(Enum):
    """The measurements on the calibration text that a method needs."""

    NOTHING = "nothing"
    INPUTS = "inputs"  # A: a forward is enough
    INPUTS_AND_GRADIENTS = "inputs and gradients"  # A and G
    GATES = "gates"  # the gate gradients
    ROUTING = "routing"  # the tokens that choose each expert, and its outputs


class Allocation(Enum):
    """The weights among which costs are compared."""

    GLOBAL = "global"  # all of the model: one threshold on the costs
    LAYER = "layer"  # the weights of a layer: every layer loses the same share
    ROW = "row"  # the weights of an output row: every row loses the same share


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredLayer:
    """The weight of a layer, and what its costs depend on."""

    W: Tensor  # R x C, with a bias R x (C+1)
    columns: int  # C
    measured: Measured
    damping: float  # for the costs


class PruningMethod(Protocol):
    """The interface of all methods. Masks are bool and exclude earlier removals."""

    needs: ClassVar[Needs]
    allocation: ClassVar[Allocation]

    def group_costs(self, layer: MeasuredLayer, column: Tensor, groups: int) -> Tensor:
        """Return the costs of `groups` equal runs of the columns in the mask `column`.

        Heads, neurons and experts are such runs; a bias belongs to none.
        """


@runtime_checkable
class MatrixMethod(PruningMethod, Protocol):
    """A method that can also remove rows, columns and weights of single matrices."""

    def row_costs(self, layer: MeasuredLayer, row: Tensor, column: Tensor) -> Tensor:
        """Return the costs of the rows in the mask `row`."""

    def column_costs(self, layer: MeasuredLayer, row: Tensor, column: Tensor) -> Tensor:
        """Return the costs of the columns in the mask `column`."""

    def element_costs(self, layer: MeasuredLayer) -> Tensor:
        """Return the cost of each weight.  R x C, or shape of W."""

    def pattern_costs(self, layer: MeasuredLayer, pattern: NM) -> tuple[Tensor, Tensor]:
        """Return the cheapest way to remove weights of each group (`costs`).

        The pattern says how many of how many weights are kept.
        """
