"""Measurements of a layer: its Kronecker factors, or its gate gradients.

    A   C x C       input activation covariance, a'a / N (with a bias: C+1, constant 1)
    G   R x R       output gradient covariance, dy'dy / N
    F = G kron A    KFAC's approximation of the Fisher of row-major vec(W)

(LLM Surgeon, arXiv 2312.17244.) Layers that read the same input share one tensor A.

A gate gradient is the derivative of the loss by a factor on a part of a layer.

A gate z multiplies a row, a column or a weight and is 1. Removing the part sets z to 0.
Its cost is estimated from the derivative g of the loss of a window by z:

    cost = 1/2 mean over windows of g^2 / length        nats per token

which is the diagonal of the Fisher of the gates, with a window as one observation
(Molchanov et al., arXiv 1611.06440 and 1906.10771, use the gate's gradient for neurons;
Fisher pruning, arXiv 1801.05787, its square). Unlike the Kronecker factors it assumes
neither that inputs and gradients nor that the tokens of a window are independent.

    row r      g = sum over tokens of dy_r y_r
    column c   g = sum over tokens of (W' dy)_c a_c
    weight     g = W_rc times the sum over tokens of dy_r a_c
    group      g = the sum of g over its columns
    neuron j of an expert   g = sum over its tokens of w (W' dy)_j a_j, with W the last
                            layer, a its input, and w the weight that the router gives
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class KroneckerFactors:
    """The factors of a layer, float32; None for factors that were not requested."""

    A: Tensor | None = None
    G: Tensor | None = None

    def __post_init__(self) -> None:
        for name, M in (("A", self.A), ("G", self.G)):
            if M is not None and (M.ndim != 2 or M.shape[0] != M.shape[1]):
                raise ValueError(f"{name} must be square, got shape {tuple(M.shape)}.")


class Gate(Enum):
    """The parts of a layer that have gates."""

    ROWS = "rows"
    COLUMNS = "columns"
    NEURONS = "neurons"  # neurons inside experts
    WEIGHTS = "weights"


@dataclass(frozen=True, slots=True, eq=False)
class GateGradients:
    """The gate gradients of a layer, float32; None for gates that were not requested.

    The loss is the sum over the tokens of a window.
    """

    tokens: int  # over all windows and draws; 1 if gradients are scaled by their number
    rows: Tensor | None = None  # windows x R
    columns: Tensor | None = None  # windows x C
    weight_squares: Tensor | None = None  # R x C: sum of (dL/dW)^2 over windows
    routed: Tensor | None = None  # experts, int64: the tokens that chose each
    neurons: Tensor | None = None  # experts x neurons: sum of g^2 over windows

    def row_costs(self) -> Tensor:
        """Return the cost of each row.  Shape R, float64."""
        assert self.rows is not None
        return self._cost(self.rows)

    def column_costs(self) -> Tensor:
        """Return the cost of each column.  Shape C, float64."""
        assert self.columns is not None
        return self._cost(self.columns)

    def column_group_costs(self, groups: int) -> Tensor:
        """Return the cost of each of `groups` equal runs of columns, float64."""
        assert self.columns is not None
        return self._cost(self.columns.unflatten(1, (groups, -1)).double().sum(dim=2))

    def neuron_costs(self) -> Tensor:
        """Return the cost of each neuron of each expert, float64."""
        assert self.neurons is not None
        return self.neurons.double() / (2 * self.tokens)

    def on_host(self) -> GateGradients:
        """Return the gradients in the memory of the host."""
        found = (
            self.rows,
            self.columns,
            self.weight_squares,
            self.routed,
            self.neurons,
        )
        return GateGradients(self.tokens, *(x if x is None else x.cpu() for x in found))

    def averaged_with(self, other: GateGradients) -> GateGradients:
        """Return gradients whose costs are the means of the costs of both."""

        def joined(one: Tensor | None, two: Tensor | None) -> Tensor | None:
            if one is None or two is None:
                return None
            first = one * (2 * self.tokens) ** -0.5
            return torch.cat([first, two * (2 * other.tokens) ** -0.5])

        def averaged(one: Tensor | None, two: Tensor | None) -> Tensor | None:
            if one is None or two is None:
                return None
            return one / (2 * self.tokens) + two / (2 * other.tokens)

        return GateGradients(
            1,
            joined(self.rows, other.rows),
            joined(self.columns, other.columns),
            averaged(self.weight_squares, other.weight_squares),
            _added(self.routed, other.routed),
            averaged(self.neurons, other.neurons),
        )

    def element_costs(self, W: Tensor) -> Tensor:
        """Return the cost of each weight of W, its bias excluded.  Shape R x C."""
        assert self.weight_squares is not None
        C = self.weight_squares.shape[1]
        squares = self.weight_squares.to(W.device)
        return W[:, :C].square() * squares / (2 * self.tokens)

    def _cost(self, gradients: Tensor) -> Tensor:
        return gradients.double().square().sum(dim=0) / (2 * self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class RoutedOutputs:
    """The outputs of the experts of a layer; E experts."""

    routed: Tensor  # E, int64: the tokens that chose each
    norms: Tensor  # E, float64: the sum over them of the norm of its weighted output


Measured: TypeAlias = KroneckerFactors | GateGradients | RoutedOutputs  # for one layer


def _added(one: Tensor | None, two: Tensor | None) -> Tensor | None:
    return None if one is None or two is None else one + two
