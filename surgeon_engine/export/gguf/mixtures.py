"""The experts of a model as llama.cpp reads them.

    ffn_gate_exps, ffn_up_exps   E x I x H   the layers that read the hidden states
    ffn_down_exps                E x H x I   the one that writes them
    ffn_gate_inp                 E x H       the router, in float32
    exp_probs_b                  E           what is added to its scores

transformers stacks gates and values in one tensor, one after the other or in turn, and
in some models columns come before rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from transformers import PreTrainedModel

from surgeon_engine.compaction.slices import TensorSlice
from surgeon_engine.model.experts import ExpertTensor, experts_of
from surgeon_engine.model.layers import blocks_path

ROUTER = "ffn_gate_inp"
_BIAS = "_bias"
_GATES_AND_VALUES = "gate_up_proj"
_PARTS = {"up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps"}


def expert_tensors(model: PreTrainedModel) -> dict[str, tuple[ExpertTensor, bool]]:
    """Return the tensors with entries for experts; True: of a stack of their weights.

    Numbers for each expert that have a name in GGUF of their own are left out.
    """
    found = {}
    for experts in experts_of(model):
        for each in experts.tensors:
            is_stacked = each.module == experts.module
            if is_stacked or each.name.rpartition(".")[2] != "per_expert_scale":
                found[each.name] = (each, is_stacked)
    return found


def named_parts(
    name: str, source: TensorSlice, model: PreTrainedModel, module: str, stacked: bool
) -> Iterator[tuple[str, TensorSlice]]:
    """Yield what the file has of a tensor with entries for experts, with its names.

    Args:
        name: of the tensor in the compact model.
        source: what is left of it.
        model: of full size.
        module: the module that has the tensor, by its name in `model`.
        stacked: whether it holds the weights or biases of the experts.
    """
    block, _, rest = name.removeprefix(f"{blocks_path(model)}.").partition(".")
    prefix, kind = f"blk.{block}", rest.rpartition(".")[2]
    if not stacked:
        is_router = source.whole.ndim == 2 or kind == "bias"
        part = ROUTER if is_router else "exp_probs_b"
        ending = "weight" if source.whole.ndim == 2 else "bias"
        yield f"{prefix}.{part}.{ending}", source
        return
    ending = "bias" if kind.endswith(_BIAS) else "weight"
    kind = kind.removesuffix(_BIAS)
    experts = model.get_submodule(module)
    whole = source.whole
    if ending == "weight" and getattr(experts, "is_transposed", False):
        whole = whole.transpose(1, 2)
    if kind != _GATES_AND_VALUES:
        yield f"{prefix}.{_PARTS[kind]}.{ending}", TensorSlice(whole, source.kept)
        return
    gates, values = _gates_and_values(whole, experts)
    yield f"{prefix}.ffn_gate_exps.{ending}", TensorSlice(gates, source.kept)
    yield f"{prefix}.ffn_up_exps.{ending}", TensorSlice(values, source.kept)


def _gates_and_values(whole: Tensor, experts: nn.Module) -> tuple[Tensor, Tensor]:
    if getattr(experts, "is_concatenated", True):
        gates, values = whole.chunk(2, dim=1)
        return gates, values
    return whole[:, ::2], whole[:, 1::2]
