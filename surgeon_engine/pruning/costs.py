"""What it costs in loss to remove a row, a column, a weight or a set of weights of W.

    W   R x C   weight (with a bias: C+1); row = output feature, column = input feature
    A   C x C   input activation covariance
    G   R x R   output gradient covariance
    F = G kron A, the Fisher of row-major vec(W)

OBD leaves the other weights as they are: removing the index set Q costs
1/2 w_Q' F_QQ w_Q. OBS re-optimises them: 1/2 w_Q' ([F^-1]_QQ)^-1 w_Q (LLM Surgeon,
arXiv 2312.17244). Both are the same formulas in W and one factor, times what the other
factor opposes to the removal, its *stiffness*:
    OBD   M_QQ                  the plain block
    OBS   ([M^-1]_QQ)^-1        what is left of it once the rest has adapted
As F^-1 = G^-1 kron A^-1, no RC x RC matrix is ever formed. Only the factor whose
stiffness is taken is damped: damping stands for what is not known of how the kept
weights make up for the removed ones. It is in the stiffness too: that of a feature that
is never active is the damping, and not zero.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from surgeon_engine.runtime.linalg import inverses

_LARGEST_GATHER = 2**24  # numbers held at once while N:M choices are compared


class Stiffness(Protocol):
    """What a factor of n features opposes to the removal of some of them."""

    def diagonal(self) -> Tensor:
        """Of each feature alone.  Shape n."""

    def blocks(self, index: Tensor) -> Tensor:
        """Of each set of features in `index` (b x k).  Shape b x k x k."""


@dataclass(frozen=True, slots=True, eq=False)
class PlainStiffness:
    """OBD: the factor itself."""

    M: Tensor  # n x n

    def diagonal(self) -> Tensor:
        """The diagonal of M."""
        return self.M.diagonal()

    def blocks(self, index: Tensor) -> Tensor:
        """M_QQ for each Q."""
        return self.M[index.unsqueeze(2), index.unsqueeze(1)]


@dataclass(frozen=True, slots=True, eq=False)
class AdaptedStiffness:
    """OBS: the Schur complement, from the inverse of the damped factor."""

    inverse: Tensor  # n x n

    def diagonal(self) -> Tensor:
        """1 / [M^-1]_qq."""
        return 1 / self.inverse.diagonal()

    def blocks(self, index: Tensor) -> Tensor:
        """([M^-1]_QQ)^-1 for each Q."""
        return inverses(self.inverse[index.unsqueeze(2), index.unsqueeze(1)])


def row_costs(W: Tensor, A: Tensor, of_G: Stiffness) -> Tensor:
    """Cost of each row: 1/2 w_r A w_r' s_r.  Shape R."""
    return 0.5 * ((W @ A) * W).sum(dim=1) * of_G.diagonal()


def column_costs(W: Tensor, G: Tensor, of_A: Stiffness) -> Tensor:
    """Cost of each column: 1/2 w_c' G w_c s_c.  Shape C."""
    return 0.5 * ((G @ W) * W).sum(dim=0) * of_A.diagonal()


def column_group_costs(W: Tensor, G: Tensor, of_A: Stiffness, groups: int) -> Tensor:
    """Cost of each of `groups` equal runs H of columns.  Shape groups.

    1/2 tr(W_H' G W_H S_HH). Columns beyond the last run (a bias) take no part.
    """
    R = len(W)
    size = W.shape[1] // groups
    W_H = W[:, : groups * size].reshape(R, groups, size)
    GW_H = (G @ W[:, : groups * size]).reshape(R, groups, size)
    quadratic = torch.einsum("rgi,rgj->gij", W_H, GW_H)  # groups x size x size
    index = torch.arange(groups * size, device=W.device).view(groups, size)
    return 0.5 * (of_A.blocks(index) * quadratic).sum(dim=(1, 2))


def element_costs(W: Tensor, of_A: Stiffness, of_G: Stiffness) -> Tensor:
    """Cost of each weight: 1/2 W_rc^2 s_r s_c.  Shape R x C."""
    return 0.5 * W.square() * of_G.diagonal().unsqueeze(1) * of_A.diagonal()


def pattern_costs(
    W: Tensor, of_A: Stiffness, of_G: Stiffness, kept: int, of: int
) -> tuple[Tensor, Tensor]:
    """The cheapest way to keep `kept` of every `of` neighbours along a row.

    Each way is a set Q of the columns of a group; its joint cost is
    1/2 w_rQ S_QQ w_rQ' s_r, which is not the sum of its elements' costs.

    Returns:
        costs, R x C/of, and the number of the chosen way in `ways_to_remove`, R x C/of.
    """
    ways = ways_to_remove(kept, of).to(W.device)  # ways x gone
    groups_at_once = max(1, _LARGEST_GATHER // (ways.numel() * ways.shape[1]))
    first = torch.arange(W.shape[1] // of, device=W.device) * of
    parts = [
        _pattern_costs_of(W, of_A, part.view(-1, 1, 1) + ways)
        for part in first.split(groups_at_once)
    ]
    cost, choice = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return 0.5 * cost * of_G.diagonal().unsqueeze(1), choice


def _pattern_costs_of(
    W: Tensor, of_A: Stiffness, index: Tensor
) -> tuple[Tensor, Tensor]:
    """The least w_rQ S_QQ w_rQ' among the ways of each group, and which way it is."""
    S = of_A.blocks(index.flatten(0, 1)).unflatten(0, index.shape[:2])
    rows_at_once = max(1, _LARGEST_GATHER // index.numel())
    costs, choices = [], []
    for rows in W.split(rows_at_once):
        W_Q = rows[:, index]  # rows x groups x ways x gone
        joint = torch.einsum("rgwi,gwij,rgwj->rgw", W_Q, S, W_Q)
        cheapest, choice = joint.min(dim=2)
        costs.append(cheapest.clamp(min=0))  # rounding may take a sum of zero below it
        choices.append(choice)
    return torch.cat(costs), torch.cat(choices)


def ways_to_remove(kept: int, of: int) -> Tensor:
    """Every set of of - kept places in a group.  Shape ways x (of - kept), int64."""
    return torch.tensor(list(itertools.combinations(range(of), of - kept)))
