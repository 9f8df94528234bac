"""Small random tensors, and dense definitions to compare fast implementations with."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SmallLayer:
    """A weight with well-conditioned factors, in float64 for exact tests."""

    W: Tensor
    A: Tensor
    G: Tensor

    @property
    def F(self) -> Tensor:
        """The full RC x RC Fisher of row-major vec(W)."""
        return torch.kron(self.G, self.A)

    @property
    def index(self) -> Tensor:
        """Index of each weight in vec(W).  R x C."""
        return torch.arange(self.W.numel()).view_as(self.W)


def make_layer(R: int, C: int) -> SmallLayer:
    g = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    a, dy = randn(4 * C, C), randn(4 * R, R)
    return SmallLayer(W=randn(R, C), A=a.T @ a / len(a), G=dy.T @ dy / len(dy))


def random_mask(*shape: int, share: float = 0.5, seed: int = 0) -> Tensor:
    """Return a random mask, bool, with about `share` of all set."""
    g = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=g) < share


def removal_cost_dense(layer: SmallLayer, Q: Tensor) -> Tensor:
    """Return the OBS cost by definition: 1/2 w_Q' ([F^-1]_QQ)^-1 w_Q."""
    w_Q = layer.W.flatten()[Q]
    inverse_QQ = torch.linalg.inv(layer.F)[Q][:, Q]
    return 0.5 * w_Q @ torch.linalg.solve(inverse_QQ, w_Q)


def plain_cost_dense(layer: SmallLayer, Q: Tensor) -> Tensor:
    """Return the OBD cost by definition: 1/2 w_Q' F_QQ w_Q."""
    w_Q = layer.W.flatten()[Q]
    return 0.5 * w_Q @ layer.F[Q][:, Q] @ w_Q


def best_weight_dense(layer: SmallLayer, is_removed: Tensor) -> Tensor:
    """Return the W with minimum 1/2 d' F d that is zero where `is_removed` (R x C)."""
    F = layer.F
    Q = is_removed.flatten()
    K = ~Q
    best = torch.zeros_like(layer.W).flatten()
    w = layer.W.flatten()
    best[K] = w[K] + torch.linalg.solve(F[K][:, K], F[K][:, Q] @ w[Q])
    return best.view_as(layer.W)


def quadratic_cost(layer: SmallLayer, X: Tensor) -> Tensor:
    """Return 1/2 tr(G D A D') for the change D = X - W."""
    D = X - layer.W
    return 0.5 * (layer.G @ D @ layer.A * D).sum()
