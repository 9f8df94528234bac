"""Compute the cost in loss of removing rows, columns or weights of W.

    W   R x C   weight (with a bias: C+1); row = output feature, column = input feature
    A   C x C   input activation covariance
    G   R x R   output gradient covariance
    F = G kron A, the Fisher of row-major vec(W)

OBD keeps the other weights: removing the index set Q costs 1/2 w_Q' F_QQ w_Q. OBS
updates them: 1/2 w_Q' ([F^-1]_QQ)^-1 w_Q (LLM Surgeon, arXiv 2312.17244). Both are the
same formulas in W and one factor, times the *stiffness* of the other factor:
    OBD   M_QQ                  the plain block
    OBS   ([M^-1]_QQ)^-1        its Schur complement, after the update of the rest
As F^-1 = G^-1 kron A^-1, no RC x RC matrix is ever formed. Only the factor whose
stiffness is taken is damped: the damping stands for the uncertainty about how well the
kept weights compensate for the removed ones. The stiffness of a feature that is never
active is the damping, and not zero.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.runtime.linalg import inverses

_MAX_GATHERED = 2**24  # numbers held at once while N:M choices are compared


@dataclass(frozen=True, slots=True, eq=False)
class Stiffness:
    """The resistance of a factor of n features to the removal of some of them.

    OBD takes the factor itself, M_QQ; OBS its Schur complement ([M^-1]_QQ)^-1.
    """

    M: Tensor  # n x n
    is_inverse: bool = False  # M is the inverse of the damped factor

    def diagonal(self) -> Tensor:
        """Return the stiffness of each feature.  Shape n."""
        diagonal = self.M.diagonal()
        return 1 / diagonal if self.is_inverse else diagonal

    def blocks(self, index: Tensor) -> Tensor:
        """Return the stiffness of each set in `index` (b x k).  Shape b x k x k."""
        M_QQ = self.M[index.unsqueeze(2), index.unsqueeze(1)]
        return inverses(M_QQ) if self.is_inverse else M_QQ


def row_costs(W: Tensor, A: Tensor, of_G: Stiffness) -> Tensor:
    """Return the cost of each row: 1/2 w_r A w_r' s_r.  Shape R."""
    return 0.5 * ((W @ A) * W).sum(dim=1) * of_G.diagonal()


def column_costs(W: Tensor, G: Tensor, of_A: Stiffness) -> Tensor:
    """Return the cost of each column: 1/2 w_c' G w_c s_c.  Shape C."""
    return 0.5 * ((G @ W) * W).sum(dim=0) * of_A.diagonal()


def column_group_costs(W: Tensor, G: Tensor, of_A: Stiffness, groups: int) -> Tensor:
    """Return the cost of each of `groups` equal runs H of columns.  Shape groups.

    It is 1/2 tr(W_H' G W_H S_HH). Columns beyond the last run (a bias) are ignored.
    """
    R = len(W)
    size = W.shape[1] // groups
    W_H = W[:, : groups * size].reshape(R, groups, size)
    GW_H = (G @ W[:, : groups * size]).reshape(R, groups, size)
    quadratic = torch.einsum("rgi,rgj->gij", W_H, GW_H)  # groups x size x size
    index = torch.arange(groups * size, device=W.device).view(groups, size)
    return 0.5 * (of_A.blocks(index) * quadratic).sum(dim=(1, 2))


def element_costs(W: Tensor, of_A: Stiffness, of_G: Stiffness) -> Tensor:
    """Return the cost of each weight: 1/2 W_rc^2 s_r s_c.  Shape R x C."""
    return 0.5 * W.square() * of_G.diagonal().unsqueeze(1) * of_A.diagonal()


def pattern_costs(
    W: Tensor, of_A: Stiffness, of_G: Stiffness, kept: int, of: int
) -> tuple[Tensor, Tensor]:
    """Find the cheapest way to keep `kept` of every `of` neighbors along a row.

    Each way is a set Q of the columns of a group; its joint cost is
    1/2 w_rQ S_QQ w_rQ' s_r, which is not the sum of its elements' costs. Return the
    costs, and the index of the cheapest way in `ways_to_remove`; R x C/of each.
    """
    ways = ways_to_remove(kept, of).to(W.device)  # ways x removed
    groups_at_once = max(1, _MAX_GATHERED // (ways.numel() * ways.shape[1]))
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
    """Return the smallest w_rQ S_QQ w_rQ' among the ways of each group, and its way."""
    S = of_A.blocks(index.flatten(0, 1)).unflatten(0, index.shape[:2])
    rows_at_once = max(1, _MAX_GATHERED // index.numel())
    costs, choices = [], []
    for rows in W.split(rows_at_once):
        W_Q = rows[:, index]  # rows x groups x ways x removed
        joint = torch.einsum("rgwi,gwij,rgwj->rgw", W_Q, S, W_Q)
        cheapest, choice = joint.min(dim=2)
        costs.append(cheapest.clamp(min=0))  # rounding may go below 0
        choices.append(choice)
    return torch.cat(costs), torch.cat(choices)


def sum_pattern_costs(cost: Tensor, kept: int, of: int) -> tuple[Tensor, Tensor]:
    """Find the cheapest way to keep `kept` of every `of` neighbors, of separate costs.

    `cost` is R x C; a set costs the sum. Return the costs, and the index of the
    cheapest way in `ways_to_remove`; R x C/of each.
    """
    ways = ways_to_remove(kept, of).to(cost.device)
    groups = cost[:, : cost.shape[1] // of * of].unflatten(1, (-1, of))
    rows_at_once = max(1, _MAX_GATHERED // max(1, groups.shape[1] * ways.numel()))
    parts = [
        rows[:, :, ways].sum(dim=3).min(dim=2) for rows in groups.split(rows_at_once)
    ]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def ways_to_remove(kept: int, of: int) -> Tensor:
    """Return every set of of - kept indices in a group: ways x (of - kept), int64."""
    return torch.tensor(list(itertools.combinations(range(of), of - kept)))
