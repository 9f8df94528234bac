"""The remaining rows and columns of the tensors of a model.

A `TensorSlice` holds their indices; its tensor is copied when it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from surgeon_engine.compaction.dead_features import CompactPart
from surgeon_engine.compaction.plan import KeptGroups
from surgeon_engine.model.families import family_of
from surgeon_engine.model.layers import ExpertsLayer, PrunableLayer


@dataclass(frozen=True, slots=True, eq=False)
class TensorSlice:
    """A tensor in memory and the indices of its remaining rows and columns."""

    whole: Tensor
    kept: tuple[Tensor | None, ...] = ()  # indices by dimension; None: all

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the remaining part."""
        kept = (*self.kept, *[None] * self.whole.ndim)
        return tuple(
            n if index is None else len(index)
            for n, index in zip(self.whole.shape, kept, strict=False)
        )

    def along(self, dimension: int, index: Tensor) -> TensorSlice:
        """Return the part with these indices along a dimension that was whole."""
        kept = [*self.kept, *[None] * (dimension + 1 - len(self.kept))]
        kept[dimension] = index
        return TensorSlice(self.whole, tuple(kept))

    def tensor(self) -> Tensor:
        """Return the remaining part in host memory.

        It may share memory with the whole: do not change it.
        """
        return self.selected().cpu().contiguous()

    def selected(self) -> Tensor:
        """Return the remaining part on the tensor's device; it may share memory."""
        result = self.whole.detach()
        for dimension, index in enumerate(self.kept):
            if index is not None:
                result = result.index_select(dimension, index.to(result.device))
        return result

    def put(self, tensor: Tensor) -> None:
        """Write the remaining part back into the whole; the inverse of `tensor`."""
        whole, tensor = self.whole, tensor.to(self.whole.dtype)
        sliced = {n: index for n, index in enumerate(self.kept) if index is not None}
        if not sliced:
            whole.copy_(tensor)
        elif len(sliced) == 1:  # without the indices of all numbers
            ((dimension, index),) = sliced.items()
            whole.index_copy_(dimension, index.to(whole.device), tensor)
        else:
            first = min(sliced)
            rest = (*self.kept[:first], *self.kept[first + 1 :])
            for n, index in enumerate(sliced[first].tolist()):
                part = TensorSlice(whole.select(first, index), rest)
                part.put(tensor.select(first, n))


def whole_slices(model: PreTrainedModel) -> dict[str, TensorSlice]:
    """Return all tensors of a checkpoint of the model, tied ones once."""
    tied = set(model.all_tied_weights_keys)
    return {
        name: TensorSlice(tensor)
        for name, tensor in model.state_dict().items()
        if name not in tied
    }


def has_slopes(model: PreTrainedModel) -> bool:
    """Return whether heads depend on their index (ALiBi)."""
    config = model.config.get_text_config()
    return family_of(config.model_type).has_slopes or bool(
        getattr(config, "alibi", False)
    )


def slice_groups(
    each: KeptGroups, model: PreTrainedModel, tensors: dict[str, TensorSlice]
) -> None:
    """Slice the tensors of an attention or MLP, or remove them if nothing remains."""
    coupled = each.coupled
    if each.is_empty:  # all of its module goes, if it has one
        names = [coupled.path] if coupled.module else [x.name for x in coupled.layers]
        gone = tuple(f"{name}." for name in names)
        for name in list(tensors):
            if name.startswith(gone):
                del tensors[name]
        return
    consumer = coupled.consumer
    if not isinstance(consumer, ExpertsLayer):
        size = consumer.columns // coupled.groups
        columns = (each.kept.unsqueeze(1) * size + torch.arange(size)).flatten()
        _slice_layer(consumer, None, columns, tensors)
    for producer in coupled.producers:
        rows = torch.isin(producer.group_of_row, each.kept).nonzero().squeeze(1)
        _slice_layer(producer.layer, rows, None, tensors)
    for own in coupled.parameters:
        name = f"{coupled.block_path}.{own.name}"
        entries = torch.isin(own.group_of_entry, each.kept).nonzero().squeeze(1)
        tensors[name] = tensors[name].along(own.dimension, entries)
    if coupled.is_attention:
        _slice_head_modules(each, model, tensors)


def _slice_head_modules(
    each: KeptGroups, model: PreTrainedModel, tensors: dict[str, TensorSlice]
) -> None:
    """Select the slopes and modules of the remaining heads."""
    name = each.coupled.path
    attention = model.get_submodule(name)
    if has_slopes(model):
        tensors[f"{name}.kept_heads"] = TensorSlice(each.kept)
    for inner, modules in attention.named_modules():
        if not isinstance(modules, nn.ModuleList):
            continue
        share = len(modules) // each.coupled.groups
        kept = (each.kept.unsqueeze(1) * share + torch.arange(share)).flatten()
        for i in range(len(modules)):
            for suffix in modules[i].state_dict():
                tensor = tensors.pop(f"{name}.{inner}.{i}.{suffix}")
                if i in kept:
                    index = int((kept < i).sum())
                    tensors[f"{name}.{inner}.{index}.{suffix}"] = tensor


def slice_part(part: CompactPart, tensors: dict[str, TensorSlice]) -> None:
    """Slice the tensors of a layer, and add its index lists."""
    layer = part.layer
    _slice_layer(layer, part.rows, part.columns, tensors)
    weight = tensors.pop(f"{layer.name}.weight")
    if isinstance(layer.module, Conv1D):  # the weight of a compact layer is R x C
        weight = TensorSlice(weight.whole.T, weight.kept[::-1])
    has_indices = part.gathers or part.scatters_to
    inner = f"{layer.name}.linear" if has_indices else layer.name
    tensors[f"{inner}.weight"] = weight
    if layer.has_bias:
        tensors[f"{inner}.bias"] = tensors.pop(f"{layer.name}.bias")
    if part.gathers:
        tensors[f"{layer.name}.kept_inputs"] = TensorSlice(part.columns)
    if part.scatters_to:
        tensors[f"{layer.name}.kept_outputs"] = TensorSlice(part.positions)


def _slice_layer(
    layer: PrunableLayer,
    rows: Tensor | None,
    columns: Tensor | None,
    tensors: dict[str, TensorSlice],
) -> None:
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    kept = (rows, columns)
    if isinstance(layer.module, Conv1D):
        kept = kept[::-1]
    tensors[weight] = TensorSlice(tensors[weight].whole, kept)
    if layer.has_bias and rows is not None:
        tensors[bias] = TensorSlice(tensors[bias].whole, (rows,))
