"""Turn a masked model and its plan into an equivalent compact model.

Nothing is copied here: the tensors are sliced when they are written (`slices.py`). The
config describes the widths of the remaining layers; `compact_layers` reads it when it
builds the model.

A block without any layer left is dropped: the blocks after it, and their entries in
the config, move up.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.api.messages.sources import is_shared_expert
from surgeon_engine.base.errors import ModelError
from surgeon_engine.compaction.compact_layers import Shrunk, shrink_groups
from surgeon_engine.compaction.config_values import flat_rope, text_options
from surgeon_engine.compaction.dead_features import compact_parts, shared_inputs
from surgeon_engine.compaction.depth_config import depth_config, without_weights
from surgeon_engine.compaction.plan import CompactionPlan, KeptGroups
from surgeon_engine.compaction.slices import (
    TensorSlice,
    has_slopes,
    slice_groups,
    slice_part,
    whole_slices,
)
from surgeon_engine.model.coupled_groups import CoupledGroups
from surgeon_engine.model.families import (
    EXPERT_WIDTHS,
    HEAD_COUNTS,
    MLP_WIDTHS,
    SHARED_WIDTHS,
    family_of,
)
from surgeon_engine.model.layers import (
    blocks_path,
    find_blocks,
    head_size,
    prunable_layers,
)
from surgeon_engine.model.offload import adopt
from surgeon_engine.model.rules import Mixer
from surgeon_engine.model.source import UNREADABLE
from surgeon_engine.runtime import devices, host_memory


@dataclass(frozen=True, slots=True, eq=False)
class CompactModel:
    """The tensors and the config of a model without its removed parts."""

    model: PreTrainedModel  # the full-size model
    plan: CompactionPlan
    tensors: dict[str, TensorSlice]  # by name in the compact model; tied ones once
    parts: dict[str, Any]  # description of rows and columns for `compact_layers`
    blocks_path: str  # the name of the list of blocks
    blocks: tuple[int, ...]  # original indices of the remaining ones

    def original_name(self, name: str) -> str:
        """Return the name in the original model of a layer or tensor of this one."""
        prefix = f"{self.blocks_path}."
        if not name.startswith(prefix):
            return name
        index, _, rest = name.removeprefix(prefix).partition(".")
        return f"{prefix}{self.blocks[int(index)]}.{rest}"

    @property
    def config(self) -> dict[str, Any]:
        """The config of the compact model.

        Raises:
            ModelError: It cannot describe these blocks.
        """
        config = self.model.config
        values = stock_config(self.model)
        text = text_options(values, config)
        text |= self.depth_config
        by_block: dict[int, dict[str, int]] = {}
        for each in self.remaining:
            widths = stated_widths(each, self.model)
            text |= stated_widths(whole(each.coupled), self.model)
            if widths and not each.is_empty:
                block = self.blocks.index(each.coupled.consumer.block)
                by_block.setdefault(block, {}).update(widths)
        # Before transformers 5.15 none has entries for single blocks.
        if by_block and not getattr(
            config.get_text_config(), "is_heterogeneous", False
        ):
            by_name = {str(block): by_block[block] for block in sorted(by_block)}
            text["per_layer_config"] = by_name
            text["allow_global_per_layer_attribute_access"] = True
        inner = config.get_text_config()
        computes_size = isinstance(getattr(type(inner), "head_dim", None), property)
        is_one = not computes_size and not is_per_block("head_dim", inner)
        if self.has_fewer_heads and is_one:
            # Programs would divide the hidden size by the remaining number of heads.
            text["head_dim"] = head_size(inner)
        described = {"blocks": self.blocks_path} | self.parts
        if groups := self._described_groups():
            described["groups"] = groups
        return values | {"pruned": described}

    @property
    def has_fewer_heads(self) -> bool:
        """Whether programs could derive another size of a head from the config."""
        return any(
            each.coupled.is_attention and each.coupled.mixer is Mixer.ATTENTION
            for each in self.plan.groups
        )

    @property
    def depth_config(self) -> dict[str, Any]:
        """The options of the language model that change with the number of blocks.

        Raises:
            ModelError: A block computes something else at another place.
        """
        if not self.has_fewer_blocks:
            return {}
        text = text_options(stock_config(self.model), self.model.config)
        return depth_config(self.model, text, self.blocks)

    @property
    def has_fewer_blocks(self) -> bool:
        """Whether blocks are dropped."""
        return len(self.blocks) < len(find_blocks(self.model))

    @property
    def has_stock_blocks(self) -> bool:
        """Whether a config can describe the kinds of the remaining blocks.

        It builds a model without weights if blocks are dropped, and compares shapes.

        Raises:
            ModelError: A block computes something else at another place.
        """
        if not self.has_fewer_blocks:
            return True
        values = stock_config(self.model)
        text = text_options(values, self.model.config)
        text |= self.depth_config
        try:
            built = find_blocks(without_weights(self.model, values))
        except UNREADABLE:
            return False
        whole = find_blocks(self.model)
        left = [whole[block] for block in self.blocks]
        return list(map(_shapes, built)) == list(map(_shapes, left))

    @property
    def remaining(self) -> tuple[KeptGroups, ...]:
        """The groups of the remaining blocks that have lost some."""
        return tuple(
            each
            for each in self.plan.groups
            if each.coupled.consumer.block in self.blocks
        )

    def _described_groups(self) -> list[dict[str, Any]]:
        """Return the descriptions for `compact_layers`; equal layers share one."""
        found: list[dict[str, Any]] = []
        for each in self.remaining:
            if each.is_empty:
                _check_can_be_missing(each.coupled, self.model)
            spec = _spec(each.coupled, self.model)
            same = next((x for x in found if x.items() >= spec.items()), None)
            if same is None:
                same = spec | {"left": {}}
                found.append(same)
            block = self.blocks.index(each.coupled.consumer.block)
            same["left"][str(block)] = [len(each.kept), each.coupled.groups]
        return found


def _shapes(block: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in block.state_dict().items()}


def compact(model: PreTrainedModel, plan: CompactionPlan) -> CompactModel:
    """Return the remaining tensors of a masked `model`, without copying them."""
    tensors = whole_slices(model)
    for each in plan.groups:
        slice_groups(each, model, tensors)
    parts_spec: dict[str, Any] = {}
    if plan.layers:
        parts = compact_parts(plan, model)
        shared = shared_inputs(parts, model)
        parts_spec["layers"] = {part.layer.name: part.spec for part in parts}
        parts_spec["shared_inputs"] = {name: len(kept) for name, kept in shared.items()}
        for part in parts:
            slice_part(part, tensors)
        for name, kept in shared.items():
            tensors[f"{name}.kept_inputs"] = TensorSlice(kept)
    dropped = plan.dropped_blocks(prunable_layers(model))
    blocks = tuple(i for i in range(len(find_blocks(model))) if i not in dropped)
    path = blocks_path(model)
    tensors = _renumbered(tensors, f"{path}.", blocks)
    return CompactModel(model, plan, tensors, parts_spec, path, blocks)


@torch.no_grad()
def shrink_in_place(model: PreTrainedModel, plan: CompactionPlan) -> None:
    """Remove the groups that `plan` does not keep, which must be zero, from `model`.

    At most the weights of one block are in memory twice.
    """
    tensors = compact(model, plan).tensors
    path, blocks = blocks_path(model), find_blocks(model)
    for index in sorted({each.coupled.consumer.block for each in plan.groups}):
        before = {id(x): x for x in blocks[index].parameters()}  # alive: ids differ
        for each in plan.groups:
            coupled = each.coupled
            if coupled.consumer.block == index and len(each.kept) < coupled.groups:
                spec = _spec(coupled, model)
                shrink_groups(blocks[index], spec, len(each.kept), coupled.groups)
        _fill(blocks[index], f"{path}.{index}.", tensors)
        after = {id(x): x for x in blocks[index].parameters()}
        new = [x for key, x in after.items() if key not in before]
        old = [x for key, x in before.items() if key not in after]
        adopt(blocks[index], new, old)
        del before, after, new, old
        host_memory.return_freed()  # the next block may be as large


def _fill(block: nn.Module, prefix: str, tensors: dict[str, TensorSlice]) -> None:
    """Copy the tensors of a block into it and remove them from `tensors`.

    Elements of a list move toward its front, in order, so that none is overwritten
    before it has been copied.
    """
    state = block.state_dict()
    for name in [name for name in tensors if name.startswith(prefix)]:
        target, source = state[name.removeprefix(prefix)], tensors[name]
        if target.data_ptr() != source.whole.data_ptr():
            target.copy_(source.selected())
            del tensors[name]


def pruned_class(stock: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Return the class that the modeling file of a compact checkpoint defines."""
    return type(f"Pruned{stock.__name__}", (Shrunk, stock), {})


def stock_config(model: PreTrainedModel) -> dict[str, Any]:
    """Return the config of the unpruned model for config.json.

    It has `rope_parameters` under their former names, too. An `auto_map` is left out,
    because it names code of others.
    """
    config = json.loads(model.config.to_json_string())
    config.pop("auto_map", None)
    config["architectures"] = [type(model).__name__]  # a GGUF file names none
    config["dtype"] = devices.name_of(model.dtype)
    text = text_options(config, model.config)
    text |= flat_rope(text)
    return config


def whole(coupled: CoupledGroups) -> KeptGroups:
    """Return all groups of a block."""
    return KeptGroups(coupled, torch.arange(coupled.groups))


def _spec(coupled: CoupledGroups, model: PreTrainedModel) -> dict[str, Any]:
    """Return the description of an attention or MLP for `compact_layers`."""
    spec: dict[str, Any] = {
        "kind": coupled.kind.value,
        "module": coupled.module,
        "consumer": coupled.consumer.kind,
        "producers": [producer.layer.kind for producer in coupled.producers],
    }
    if coupled.parameters:
        spec["parameters"] = {each.name: each.dimension for each in coupled.parameters}
    if coupled.counts:
        spec["counts"] = list(coupled.counts)
    if coupled.is_attention:
        if family_of(model.config.get_text_config().model_type).reads_config:
            spec["reads_config"] = True
        if has_slopes(model):
            spec["has_slopes"] = True
    return spec


def stated_widths(each: KeptGroups, model: PreTrainedModel) -> dict[str, int]:
    """Return the widths of one block under the names of the stock config, if any."""
    config, coupled = model.config.get_text_config(), each.coupled
    kept, groups = len(each.kept), coupled.groups
    if coupled.kind is Coupling.NEURONS:
        shared = SHARED_WIDTHS if is_shared_expert(coupled.module) else ()
        for name in shared:
            if getattr(config, name, None) == groups:
                return {name: kept}
        width = family_of(config.model_type).mlp_width
        for name in (width, *MLP_WIDTHS):
            if hasattr(config, name) and getattr(config, name) in (None, groups):
                return {name: kept}
        return {}
    if coupled.kind is Coupling.EXPERTS:
        return dict.fromkeys(coupled.stated, kept)
    if coupled.kind is Coupling.EXPERT_NEURONS:
        equal = [x for x in EXPERT_WIDTHS if getattr(config, x, None) == groups]
        return dict.fromkeys(equal[:1], kept)
    names = HEAD_COUNTS if coupled.is_attention else coupled.stated
    names = tuple(name for name in names if not is_per_block(name, config))
    stated = {name: getattr(config, name, None) for name in names}
    if coupled.stated and not all(stated.values()):
        return {}  # the config has no names for the widths of this mixer
    return {name: heads * kept // groups for name, heads in stated.items() if heads}


def is_per_block(name: str, config: PretrainedConfig) -> bool:
    """Return whether a config has a value for each block, as in Gemma 4."""
    return name in (getattr(config, "per_layer_attributes", None) or ())


def _check_can_be_missing(coupled: CoupledGroups, model: PreTrainedModel) -> None:
    """Check that blocks need only the output of an attention or MLP."""
    family = family_of(model.config.get_text_config().model_type)
    if coupled.kind is Coupling.HEADS and family.needs_attentions:
        raise ModelError(
            "Blocks of this architecture need more of their attention than its "
            "output, so that they cannot do without it.",
            "Choose the masked format, or remove no attention as a whole.",
        )
    if coupled.adds_residual:
        raise ModelError(
            "The attention and the MLP of this model add the residual stream "
            "themselves, so that a block cannot do without one of them.",
            "Choose the masked format, or drop whole blocks only.",
        )


def _renumbered(
    tensors: dict[str, TensorSlice], prefix: str, blocks: Sequence[int]
) -> dict[str, TensorSlice]:
    """Return the tensors of the remaining blocks, numbered from 0, and all others."""
    new = {str(block): str(index) for index, block in enumerate(blocks)}
    result: dict[str, TensorSlice] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            block, _, rest = name.removeprefix(prefix).partition(".")
            if block not in new:
                continue
            name = f"{prefix}{new[block]}.{rest}"
        result[name] = tensor
    return result
