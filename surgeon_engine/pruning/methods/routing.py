"""Costs of experts from the tokens that a router sends to them.

They are baselines of the first-order gates. Their costs are no losses: they order the
experts of a model, and cannot be compared with costs of heads or neurons.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from surgeon_engine.curvature.measured import RoutedOutputs
from surgeon_engine.pruning.methods.base import (
    Allocation,
    MeasuredLayer,
    Needs,
    PruningMethod,
)


class RoutingMethod(PruningMethod):
    """A method that removes experts alone."""

    needs: ClassVar = Needs.ROUTING
    allocation: ClassVar = Allocation.GLOBAL

    @override
    def group_costs(self, layer: MeasuredLayer, column: Tensor, groups: int) -> Tensor:
        assert isinstance(layer.measured, RoutedOutputs)
        return self.expert_costs(layer.measured)[column.cpu()]

    def expert_costs(self, outputs: RoutedOutputs) -> Tensor:
        """Return the cost of each expert."""
        raise NotImplementedError


class Reap(RoutingMethod):
    """Router-weighted expert activation pruning (Lasby et al., arXiv 2510.13999).

    The cost is the mean, over the tokens that chose an expert, of its weight times the
    norm of its output; 0 if there are none. The paper removes equally many of each
    block, and so does `widths = "same"`.
    """

    @override
    def expert_costs(self, outputs: RoutedOutputs) -> Tensor:
        return outputs.norms / outputs.routed.clamp(min=1)


class RoutingFrequency(RoutingMethod):
    """The number of tokens that chose an expert."""

    @override
    def expert_costs(self, outputs: RoutedOutputs) -> Tensor:
        return outputs.routed
