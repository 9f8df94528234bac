"""The experts of a model as llama.cpp reads them.

    ffn_gate_exps, ffn_up_exps   E x I x H   the layers that read the hidden states
    ffn_down_exps                E x H x I   the one that writes them
    ffn_gate_inp                 E x H       the router, in float32
    exp_probs_b                  E           numbers added to its scores

transformers stacks gates and values in one tensor, one after the other or in turn, and
in some models columns come before rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from surgeon_engine.compaction.slices import TensorSlice
from surgeon_engine.model.experts import experts_of
from surgeon_engine.model.layers import blocks_path

ROUTER = "ffn_gate_inp"
_BIAS = "_bias"
_GATES_AND_VALUES, _GATES = "gate_up_proj", "ffn_gate_exps"
_PARTS = {"up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps"}


def expert_tensors(model: PreTrainedModel) -> dict[str, bool]:
    """Return the names of tensors with entries for experts; True: stacked weights."""
    return {
        each.name: each.module == experts.module
        for experts in experts_of(model)
        for each in experts.tensors
    }


def named_parts(
    name: str, source: TensorSlice, model: PreTrainedModel, module: str, stacked: bool
) -> Iterator[tuple[str, TensorSlice]]:
    """Yield the file's parts of a tensor with entries for experts, with their names.

    Args:
        name: tensor name in the compact model.
        source: the rest of the tensor after pruning.
        model: the full-size model.
        module: the module that has the tensor, by its name in `model`.
        stacked: whether it holds the weights or biases of the experts.
    """
    block, _, rest = name.removeprefix(f"{blocks_path(model)}.").partition(".")
    prefix, kind = f"blk.{block}", rest.rpartition(".")[2]
    if not stacked:
        yield f"{prefix}.{_of_router(kind, source.whole)}", _in_one_row(source)
        return
    ending = "bias" if kind.endswith(_BIAS) else "weight"
    kind = kind.removesuffix(_BIAS)
    experts = model.get_submodule(module)
    if ending == "weight" and getattr(experts, "is_transposed", False):
        kept = (*source.kept, *[None] * 3)
        whole = source.whole.transpose(1, 2)
        source = TensorSlice(whole, (kept[0], kept[2], kept[1]))
    if kind != _GATES_AND_VALUES:
        yield f"{prefix}.{_PARTS[kind]}.{ending}", source
        return
    gates, values = _gates_and_values(source, experts)
    yield f"{prefix}.{_GATES}.{ending}", gates
    yield f"{prefix}.ffn_up_exps.{ending}", values


def weights_of(name: str, experts: Any) -> Tensor:
    """Return the weights that a tensor in the file holds, a view: E x R x C.

    `experts` is the module with the stacked weights.
    """
    part = name.split(".")[2]
    stored = next((x for x, y in _PARTS.items() if y == part), _GATES_AND_VALUES)
    if not hasattr(experts, stored):  # values beside gates
        stored = _GATES_AND_VALUES
    whole: Tensor = getattr(experts, stored).data
    if getattr(experts, "is_transposed", False):
        whole = whole.transpose(1, 2)
    if stored != _GATES_AND_VALUES:
        return whole
    gates, values = _gates_and_values(TensorSlice(whole), experts)
    return gates.whole if part == _GATES else values.whole


def _of_router(kind: str, whole: Tensor) -> str:
    """Return the name in the file of a tensor beside the stacked weights."""
    if kind == "per_expert_scale":
        return "ffn_down_exps.scale"
    if whole.ndim == 2 and len(whole) > 1:
        return f"{ROUTER}.weight"
    return f"{ROUTER}.bias" if kind == "bias" else "exp_probs_b.bias"


def _in_one_row(source: TensorSlice) -> TensorSlice:
    """Return the numbers of ERNIE, which are in a matrix of one row, as a list."""
    if source.whole.ndim == 2 and len(source.whole) == 1:
        return TensorSlice(source.whole[0], source.kept[1:])
    return source


def _gates_and_values(
    source: TensorSlice, experts: nn.Module
) -> tuple[TensorSlice, TensorSlice]:
    whole, (kept, rows, *rest) = source.whole, (*source.kept, None, None)
    if getattr(experts, "is_concatenated", True):
        gates, values = whole.chunk(2, dim=1)
        neurons = None if rows is None else rows.chunk(2)[0]
    else:
        gates, values = whole[:, ::2], whole[:, 1::2]
        neurons = None if rows is None else rows[::2] // 2
    indices = (kept, neurons, *rest)[: whole.ndim]
    return TensorSlice(gates, indices), TensorSlice(values, indices)
