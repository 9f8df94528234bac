"""The Kronecker factors of one layer.

    A   C x C       input activation covariance, a'a / N (with a bias: C+1, constant 1)
    G   R x R       output gradient covariance, dy'dy / N
    F = G kron A    KFAC's approximation of the Fisher of row-major vec(W)

(LLM Surgeon, arXiv 2312.17244.) Layers that read the same input share one tensor A.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class KroneckerFactors:
    """The factors of a layer, float32; None for those that were not requested."""

    A: Tensor | None = None
    G: Tensor | None = None

    def __post_init__(self) -> None:
        for name, M in (("A", self.A), ("G", self.G)):
            if M is not None and (M.ndim != 2 or M.shape[0] != M.shape[1]):
                raise ValueError(f"{name} must be square, got shape {tuple(M.shape)}.")
