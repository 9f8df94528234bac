"""Turn a masked model and its plan into an equivalent compact model.

Nothing is copied here: a `TensorSlice` says which rows and columns of a tensor stand in
the export; the tensor is sliced when it is written. The widths of the remaining layers
are described in the config, which `compact_layers` reads when the model is built.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.api.errors import ModelError
from surgeon_engine.compaction.compact_layers import shrink, shrink_groups
from surgeon_engine.compaction.config_values import decoded
from surgeon_engine.compaction.dead_features import (
    CompactPart,
    compact_parts,
    shared_inputs,
)
from surgeon_engine.compaction.plan import KeptGroups, Plan
from surgeon_engine.model.coupling import CoupledGroups
from surgeon_engine.model.families import MLP_WIDTH, READS_CONFIG
from surgeon_engine.model.layers import PrunableLayer, blocks_path, find_blocks
from surgeon_engine.runtime import devices

_HEADS = ("num_attention_heads", "num_key_value_heads", "num_kv_heads")


@dataclass(frozen=True, slots=True, eq=False)
class TensorSlice:
    """What stays of a tensor in memory."""

    whole: Tensor
    kept: tuple[Tensor | None, ...] = ()  # of each dimension; None: all of it

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what stays."""
        kept = (*self.kept, *[None] * self.whole.ndim)
        return tuple(
            n if index is None else len(index)
            for n, index in zip(self.whole.shape, kept, strict=False)
        )

    def tensor(self) -> Tensor:
        """What stays, on the host; to be read alone, as it may be the whole itself."""
        return self.selected().cpu().contiguous()

    def selected(self) -> Tensor:
        """What stays, where it is; it too may be the whole itself."""
        result = self.whole.detach()
        for dimension, index in enumerate(self.kept):
            if index is not None:
                result = result.index_select(dimension, index.to(result.device))
        return result

    def put(self, tensor: Tensor) -> None:
        """Write what stays back to where it was; the inverse of `tensor`."""
        kept = (*self.kept, *[None] * self.whole.ndim)
        whole = self.whole
        indices = [
            torch.arange(n) if index is None else index
            for n, index in zip(whole.shape, kept, strict=False)
        ]
        if indices:
            whole[torch.meshgrid(*indices, indexing="ij")] = tensor.to(whole.dtype)
        else:
            whole.copy_(tensor)


@dataclass(frozen=True, slots=True, eq=False)
class CompactModel:
    """A model whose removed parts are really gone.

    Pieces have the names that the tensors have in the compact model; tied ones stand
    there once.
    """

    model: PreTrainedModel  # of full size
    plan: Plan
    pieces: dict[str, TensorSlice]
    parts: dict[str, Any]  # what `compact_layers` is told of rows and columns

    @property
    def config(self) -> dict[str, Any]:
        """What is to be added to the stock model's config.

        Raises:
            ModelError: blocks of the model differ, which a config cannot say.
        """
        config = self.model.config  # before transformers 5.15 no layer has its own
        if self.plan.groups and getattr(config, "is_heterogeneous", False):
            raise ModelError(
                "The config of the model says something of each layer itself, where "
                "the widths would have to stand.",
                "Choose the masked format.",
            )
        pruned: dict[str, Any] = {"blocks": blocks_path(self.model)} | self.parts
        added: dict[str, Any] = {"pruned": pruned}
        by_block: dict[int, dict[str, int]] = {}
        for each in self.plan.groups:
            spec = _spec(each.coupled, self.model)
            if pruned.setdefault(each.coupled.kind.value, spec) != spec:
                raise _differing(each.coupled.kind)
            added[spec["width"]] = spec["full"]
            of_block = by_block.setdefault(each.coupled.consumer.block, {})
            of_block |= _widths(each, spec, self.model)
        if by_block:
            by_name = {str(block): by_block[block] for block in sorted(by_block)}
            added["per_layer_config"] = by_name
            added["allow_global_per_layer_attribute_access"] = True
        return added


def compact(model: PreTrainedModel, plan: Plan) -> CompactModel:
    """What stays of a masked `model`."""
    pieces = whole_slices(model)
    described: dict[str, Any] = {}
    for each in plan.groups:
        _cut_groups(each, model, pieces)
    if plan.layers:
        parts = compact_parts(plan, model)
        shared = shared_inputs(parts, model)
        described["layers"] = {part.layer.name: part.spec for part in parts}
        described["shared_inputs"] = {name: len(kept) for name, kept in shared.items()}
        for part in parts:
            _cut_part(part, pieces)
        for name, kept in shared.items():
            pieces[f"{name}.kept_inputs"] = TensorSlice(kept)
    return CompactModel(model, plan, pieces, described)


def compact_model(model: PreTrainedModel, plan: Plan) -> PreTrainedModel:
    """A compact model in memory, built as its checkpoint is by transformers."""
    made = compact(model, plan)
    values = decoded(stock_config(model) | made.config)
    config = type(model.config).from_dict(values)
    state = {name: piece.tensor() for name, piece in made.pieces.items()}
    built = pruned_class(type(model)).from_pretrained(
        None, config=config, state_dict=state, dtype=model.dtype
    )
    return built.eval().requires_grad_(False)


@torch.no_grad()
def shrink_in_place(model: PreTrainedModel, plan: Plan) -> None:
    """Take the groups that are gone out of `model` itself; they must be zero in it.

    Of its weights no more than one block's are in memory twice.
    """
    pieces = compact(model, plan).pieces
    path, blocks = blocks_path(model), find_blocks(model)
    for each in plan.groups:
        coupled, index = each.coupled, each.coupled.consumer.block
        spec, left = _spec(coupled, model), len(each.kept)
        shrink_groups(blocks[index], spec, left, coupled.groups, model.config)
        _fill(blocks[index], f"{path}.{index}.", pieces)


def _fill(block: nn.Module, prefix: str, pieces: dict[str, TensorSlice]) -> None:
    """Move what stays to where it stands in `block`, out of `pieces`.

    The elements of a list move to its front, first to last: none is overwritten before
    it has moved.
    """
    state = block.state_dict()
    for name in [name for name in pieces if name.startswith(prefix)]:
        place, piece = state[name.removeprefix(prefix)], pieces[name]
        if place.data_ptr() != piece.whole.data_ptr():
            place.copy_(piece.selected())
            del pieces[name]


def can_shrink_in_place(model: PreTrainedModel) -> bool:
    """Whether heads that are left need not know which ones they were (ALiBi)."""
    return not _has_slopes(model)


def pruned_class(stock: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The class that a compact checkpoint's modeling file defines."""

    def __init__(self: PreTrainedModel, config: PretrainedConfig) -> None:
        stock.__init__(self, config)
        shrink(self, config)

    return type(f"Pruned{stock.__name__}", (stock,), {"__init__": __init__})


def stock_config(model: PreTrainedModel) -> dict[str, Any]:
    """The config of the unpruned model as it stands in config.json.

    `rope_theta` stands beside `rope_parameters`: programs that know only the former
    would otherwise go by another one, silently.
    """
    config = json.loads(model.config.to_json_string())
    config["architectures"] = [type(model).__name__]  # a GGUF file names none
    config["dtype"] = devices.name_of(model.dtype)
    rope = config.get("rope_parameters")
    if isinstance(rope, Mapping) and "rope_theta" in rope:
        config.setdefault("rope_theta", rope["rope_theta"])
    return config


def head_size(config: PretrainedConfig) -> int:
    """How many features a head has."""
    stated = getattr(config, "head_dim", None)
    return int(stated or config.hidden_size // config.num_attention_heads)


def whole_slices(model: PreTrainedModel) -> dict[str, TensorSlice]:
    """Every tensor of a model's state that a checkpoint holds, tied ones once."""
    pieces: dict[str, TensorSlice] = {}
    tied = set(model.all_tied_weights_keys)
    for name, tensor in model.state_dict().items():
        if name not in tied:
            pieces[name] = TensorSlice(tensor)
    return pieces


def _spec(coupled: CoupledGroups, model: PreTrainedModel) -> dict[str, Any]:
    """What the groups of one kind are, in the words of `compact_layers`."""
    config = model.config.get_text_config()
    spec: dict[str, Any] = {
        "consumer": coupled.consumer.kind,
        "producers": [producer.layer.kind for producer in coupled.producers],
    }
    if coupled.kind is Coupling.NEURONS:
        width = MLP_WIDTH.get(config.model_type, "intermediate_size")
        return {"width": width, "full": coupled.groups} | spec
    spec = {"width": _HEADS[0], "full": getattr(config, _HEADS[0])} | spec
    if config.model_type in READS_CONFIG:
        spec["reads_config"] = True
    if _has_slopes(model):
        spec["has_slopes"] = True
    return spec


def _has_slopes(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    return config.model_type == "bloom" or bool(getattr(config, "alibi", False))


def _widths(
    each: KeptGroups, spec: Mapping[str, Any], model: PreTrainedModel
) -> dict[str, int]:
    """The widths of one block under the names of the stock config."""
    left, groups = len(each.kept), each.coupled.groups
    if each.coupled.kind is Coupling.NEURONS:
        return {spec["width"]: left}
    config = model.config.get_text_config()
    stated = {name: getattr(config, name, None) for name in _HEADS}
    return {name: heads * left // groups for name, heads in stated.items() if heads}


def _differing(kind: Coupling) -> ModelError:
    return ModelError(
        f"The blocks of this model have different numbers of {kind.value}, or make "
        "them by different layers: a config tells one for all of them.",
        "Choose the masked format, or prune rows and columns instead.",
    )


def _cut_groups(
    each: KeptGroups, model: PreTrainedModel, pieces: dict[str, TensorSlice]
) -> None:
    consumer = each.coupled.consumer
    size = consumer.columns // each.coupled.groups
    columns = (each.kept.unsqueeze(1) * size + torch.arange(size)).flatten()
    _cut(consumer, None, columns, pieces)
    for producer in each.coupled.producers:
        rows = torch.isin(producer.group_of_row, each.kept).nonzero().squeeze(1)
        _cut(producer.layer, rows, None, pieces)
    if each.coupled.kind is Coupling.HEADS:
        _cut_heads(each, model, pieces)


def _cut_heads(
    each: KeptGroups, model: PreTrainedModel, pieces: dict[str, TensorSlice]
) -> None:
    """What attention holds for each head beside its linear layers."""
    name = each.coupled.consumer.name.rpartition(".")[0]
    attention = model.get_submodule(name)
    if _has_slopes(model):
        pieces[f"{name}.kept_heads"] = TensorSlice(each.kept)
    for inner, modules in attention.named_modules():
        if not isinstance(modules, nn.ModuleList):
            continue
        share = len(modules) // each.coupled.groups
        kept = (each.kept.unsqueeze(1) * share + torch.arange(share)).flatten()
        for i in range(len(modules)):
            for suffix in modules[i].state_dict():
                old = f"{name}.{inner}.{i}.{suffix}"
                piece = pieces.pop(old)
                if i in kept:
                    at = int((kept < i).sum())
                    pieces[f"{name}.{inner}.{at}.{suffix}"] = piece


def _cut_part(part: CompactPart, pieces: dict[str, TensorSlice]) -> None:
    layer = part.layer
    _cut(layer, part.rows, part.columns, pieces)
    if isinstance(layer.module, Conv1D):  # a compact layer is always R x C
        piece = pieces[f"{layer.name}.weight"]
        pieces[f"{layer.name}.weight"] = TensorSlice(piece.whole.T, piece.kept[::-1])
    if part.gathers:
        pieces[f"{layer.name}.kept_inputs"] = TensorSlice(part.columns)
    if part.scatters_to:
        pieces[f"{layer.name}.kept_outputs"] = TensorSlice(part.places)


def _cut(
    layer: PrunableLayer,
    rows: Tensor | None,
    columns: Tensor | None,
    pieces: dict[str, TensorSlice],
) -> None:
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    kept = (rows, columns)
    if isinstance(layer.module, Conv1D):
        kept = kept[::-1]
    pieces[weight] = TensorSlice(pieces[weight].whole, kept)
    if layer.has_bias and rows is not None:
        pieces[bias] = TensorSlice(pieces[bias].whole, (rows,))
