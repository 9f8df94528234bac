"""Measure how much the rounding of each column of a matrix matters.

One forward of the pruned model measures the mean square of each input of each layer, on
calibration text. Each expert has its own, of the tokens that the router gives it.

A file for llama.cpp's programs (`--imatrix`) holds for each matrix the sums of the
squared inputs over all tokens, and the number of tokens; for experts, a row of sums
each, as if they had all tokens. The entries follow llama.cpp's imatrix.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFWriter
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from surgeon_engine.export.base import Calibration
from surgeon_engine.export.gguf.tensors import FileTensor
from surgeon_engine.export.provenance import public_name
from surgeon_engine.model.experts import inner_states, last_weight
from surgeon_engine.model.forwards import Forwards
from surgeon_engine.model.layers import ExpertsLayer, PrunableLayer
from surgeon_engine.model.load import LoadedModel

IMATRIX_NAME = "imatrix.gguf"
_MIN_IMPORTANCE = 1e-6  # relative to the mean; a column with 0 would have no scale


@torch.no_grad()
def mean_squares(loaded: LoadedModel, calibration: Calibration) -> dict[str, Tensor]:
    """Return the mean square of each input feature, by layer.

    Stacked experts have a matrix with a row for each expert, by the name of the tensor.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}

    def add(
        layer: PrunableLayer, module: nn.Module, inputs: tuple[Tensor, ...]
    ) -> None:
        if not isinstance(layer, ExpertsLayer):
            squares = inputs[0].flatten(0, -2).float().square().sum(dim=0)
            sums[layer.name] = sums.get(layer.name, 0) + squares
            return
        found, counted = _expert_squares(module, *inputs[:2])
        for name, squares in found.items():
            name = f"{layer.name}.{name}"
            sums[name] = sums.get(name, 0) + squares
            counts[name] = counts.get(name, 0) + counted

    def hooks() -> list[RemovableHandle]:
        return [
            layer.module.register_forward_pre_hook(partial(add, layer))
            for layer in loaded.layers
        ]

    batches = calibration.windows.split(calibration.batch)
    for _ in Forwards(loaded.model, batches, calibration.check, hooks=hooks):
        pass  # the hooks have seen what they need
    tokens = calibration.windows.numel()
    return {
        name: _means(total, counts[name]) if name in counts else (total / tokens).cpu()
        for name, total in sums.items()
    }


def _expert_squares(
    experts: Any, hidden: Tensor, chosen: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the sums of squared inputs of stacked experts, and the tokens of each.

    Args:
        experts: a module of stacked weights; others than `gate_up_proj` have no sums.
        hidden: T x H
        chosen: T x k, the experts of each token
    """
    count = len(experts.down_proj)
    counts = torch.bincount(chosen.flatten(), minlength=count + 1)[:count].float()
    if not hasattr(experts, "gate_up_proj") or not hasattr(experts, "_apply_gate"):
        return {}, counts
    width = last_weight(experts, 0).shape[1]
    read = hidden.new_zeros(count, hidden.shape[-1], dtype=torch.float32)
    written = hidden.new_zeros(count, width, dtype=torch.float32)
    for expert in counts.nonzero().flatten().tolist():
        rows = hidden[(chosen == expert).any(dim=-1)]
        inner = inner_states(experts, expert, rows)
        read[expert] = rows.float().square().sum(dim=0)
        written[expert] = inner.float().square().sum(dim=0)
    return {"gate_up_proj": read, "down_proj": written}, counts


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of each expert; without tokens, the mean of all experts."""
    means = sums / counts.unsqueeze(1).clamp_min(1)
    of_all = sums.sum(dim=0) / counts.sum().clamp_min(1)
    return torch.where(counts.unsqueeze(1) > 0, means, of_all).cpu()


def importances(each: FileTensor, squares: Mapping[str, Tensor]) -> np.ndarray | None:
    """Return the importances of the columns of a tensor; None if it is in no block.

    Experts have a row of them each.
    """
    found = squares.get(each.layer)
    if found is None or each.is_float32:
        return None
    values = each.mean_squares(found)
    floor = _MIN_IMPORTANCE * values.mean(dim=-1, keepdim=True)
    floor[floor == 0] = 1.0
    values = values.maximum(floor)
    return (values if found.ndim == 2 else values[0]).numpy()


def write_imatrix(
    path: Path,
    tensors: Sequence[FileTensor],
    squares: Mapping[str, Tensor],
    calibration: Calibration,
) -> None:
    """Write the importances of the matrices of all blocks.

    `squares` are the mean squares of the inputs, by layer.
    """
    windows, length = calibration.windows.shape
    writer = GGUFWriter(path, "")
    writer.kv_data[0].clear()  # the file has no architecture
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [public_name(calibration.text)])
    writer.add_uint32("imatrix.chunk_count", windows)
    writer.add_uint32("imatrix.chunk_size", length)
    tokens = windows * length
    for each in tensors:
        if each.layer in squares and len(each.shape) > 1:
            sums = each.mean_squares(squares[each.layer]).double() * tokens
            writer.add_tensor(f"{each.name}.in_sum2", sums.float().numpy())
            counts = np.full((len(sums), 1), tokens, np.float32)
            writer.add_tensor(f"{each.name}.counts", counts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
