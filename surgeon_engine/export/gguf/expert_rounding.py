"""Round the experts of a block, with errors fed forward.

Each expert reads the tokens that the router gives it, so that each of its matrices has
an A of its own. Several experts are rounded at once: columns go in order.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from surgeon_engine.export.gguf.error_feedback import (
    best_rounding,
    inverse_factor,
    round_with_feedback,
)
from surgeon_engine.export.gguf.quantizer import quantize
from surgeon_engine.export.gguf.tensors import FileTensor, check_range
from surgeon_engine.model.experts import inner_states
from surgeon_engine.model.layers import ExpertsLayer
from surgeon_engine.planning.gguf_types import TensorType
from surgeon_engine.runtime.hidden_store import HiddenStore

_AT_ONCE = 2**26  # numbers in the matrices A of the experts that are rounded at once
_LAST = ".down_proj"  # last layer of an expert: reads its inner states


class ExpertInputs:
    """The inputs of a block's experts, batch by batch, and each token's experts."""

    def __init__(self, layer: ExpertsLayer, store: HiddenStore) -> None:
        self.layer, self._store = layer, store
        self._hidden: list[Tensor] = []  # T x H
        self._chosen: list[Tensor] = []  # T x k

    def hook(self) -> RemovableHandle:
        """Keep the inputs from now on."""
        return self.layer.module.register_forward_pre_hook(self._add)

    def _add(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        hidden, chosen = (x.flatten(0, -2) for x in inputs[:2])
        self._hidden.append(self._store.keep(hidden))
        self._chosen.append(chosen.to(self._hidden[-1].device))

    def release(self) -> None:
        """Forget the inputs."""
        self._store.drop(self._hidden)
        self._chosen.clear()

    def covariance(self, expert: int, name: str) -> Tensor | None:
        """Return A of one weight of an expert; None: it has no tokens."""
        pairs = zip(self._hidden, self._chosen, strict=True)
        read = [hidden[(chosen == expert).any(dim=-1)] for hidden, chosen in pairs]
        rows = torch.cat(read).to(self.layer.device)
        if not len(rows):
            return None
        if name.endswith(_LAST):
            rows = inner_states(self.layer.module, expert, rows)
        X = rows.float()
        return X.T @ X / len(X)


def round_experts(
    each: FileTensor, kind: TensorType, importances: np.ndarray, inputs: ExpertInputs
) -> np.ndarray:
    """Return the blocks of the stacked weights of experts: E x R x bytes of a row.

    `kind` is one for which errors can be fed forward, `importances` is E x C, and
    `inputs` has what the experts of the block read.
    """
    tensor = each.tensor()
    check_range(each.name, tensor, kind)
    kept = each.source.kept[0] if each.source.kept else None
    numbers = torch.arange(len(tensor)) if kept is None else kept
    at_once = max(1, _AT_ONCE // tensor.shape[-1] ** 2)
    result = []
    for part in torch.arange(len(tensor)).split(at_once):
        found = [inputs.covariance(int(numbers[n]), each.layer) for n in part]
        covariances = [None if A is None else each.columns_of(A) for A in found]
        weights = [importances[n] for n in part]
        result += _rounded(tensor[part].float(), kind, weights, covariances)
    return np.stack(result)


def _rounded(
    W: Tensor,
    kind: TensorType,
    importances: list[np.ndarray],
    covariances: list[Tensor | None],
) -> list[np.ndarray]:
    """Return the blocks of some experts; without tokens, no error is fed forward."""
    used = {n: A for n, A in enumerate(covariances) if A is not None}
    blocks = {
        n: quantize(W[n].numpy(), kind, importances[n])
        for n in range(len(W))
        if n not in used
    }
    if used:
        indices, weights = list(used), np.stack([importances[n] for n in used])
        U = torch.stack([inverse_factor(A) for A in used.values()])
        fed = round_with_feedback(W[indices].to(U.device), U, kind, weights)
        for n, found in zip(indices, fed, strict=True):
            A = used[n]
            blocks[n] = best_rounding(W[n].to(A.device), found, A, kind, importances[n])
    return [blocks[n] for n in range(len(W))]
