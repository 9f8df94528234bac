"""Lay out the tensors of a compact model as llama.cpp's architectures expect them.

The package gguf knows the names. The values are the same as in the model, except that

    rows of queries and keys are reordered where llama.cpp rotates neighboring features
        (transformers rotates features that are half a head apart)
    fused queries, keys and values are in this order, not group by group
    1 is added to the weights of norms where the model does so when it runs
    experts have a tensor for each of their layers (`mixtures.py`)
    latent keys and values have one for keys and one for values, by head
    neurons of zeros fill the MLPs up to whole blocks of quantized numbers, and experts
        that all tokens use up to the width of several others, where this is derived

An attention that was removed as a whole has no heads in a deci file, and an MLP has a
few neurons of zeros: llama.cpp would skip the attention of a block without any. So does
the first attention, where llama.cpp reads the size of a head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import gguf
import torch
from gguf import TensorNameMap
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from surgeon_engine.compaction.shrink import CompactModel
from surgeon_engine.compaction.slices import TensorSlice
from surgeon_engine.export.gguf.mixtures import ROUTER, expert_tensors, named_parts
from surgeon_engine.export.gguf.tensors import FileTensor
from surgeon_engine.model.families import family_of
from surgeon_engine.model.gguf_llama import part_shapes
from surgeon_engine.model.layers import LINEAR, body_path, head_size
from surgeon_engine.model.rules import Family, Gguf, Order

_BLOCK = 32  # numbers that share a scale in most quantized types
_OF_HEAD = re.compile(r"\.norms\.\d+(?=\.weight$)")  # a norm for each head
_BY_FORMAT = (*LINEAR, nn.Embedding)  # the number format decides about their weights
_POSITIONS = "position_embd.weight"  # in float32
_LAST = "ffn_down_exps"  # the last layers of the experts of a block
_FLOAT32 = (ROUTER, "ffn_gate_inp_shexp")
# Tensors of linear attention with rows for keys, then for each head of values.
_AFTER_KEYS = ("attn_qkv", "ssm_conv1d")
_OF_EACH_HEAD = ("ssm_alpha", "ssm_beta", "ssm_a", "ssm_dt")  # a number per head
_OF_VALUES = (*_AFTER_KEYS, *_OF_EACH_HEAD, "attn_gate")


@dataclass(frozen=True, slots=True)
class Widths:
    """Widths of the remaining blocks in the file, in order; 0: no such part."""

    neurons: list[int] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    kv_heads: list[int] = field(default_factory=list)
    head_sizes: list[int] = field(default_factory=list)
    value_heads: list[int] = field(default_factory=list)  # in a gated delta rule
    experts: list[int] = field(default_factory=list)
    expert_neurons: list[int] = field(default_factory=list)  # per expert
    shared_neurons: list[int] = field(default_factory=list)  # in experts for all tokens

    @property
    def are_uniform(self) -> bool:
        """Whether all blocks that have the same parts have the same widths."""
        of_kinds = (self.neurons, self.heads, self.kv_heads, self.head_sizes)
        others = (self.value_heads, self.shared_neurons)
        return self.have_equal_experts and all(
            len({n for n in each if n}) <= 1 for each in (*of_kinds, *others)
        )

    @property
    def have_equal_experts(self) -> bool:
        """Whether all blocks with experts have equally many, equally wide experts."""
        of_blocks = zip(self.experts, self.expert_neurons, strict=True)
        return len({each for each in of_blocks if any(each)}) <= 1

    @property
    def dense_blocks(self) -> int:
        """The number of blocks before the first with experts."""
        return next((i for i, n in enumerate(self.experts) if n), len(self.experts))


@dataclass(frozen=True, slots=True)
class Layout:
    """The tensors of a file in order, and the widths of its blocks."""

    tensors: list[FileTensor]
    widths: Widths
    unknown: tuple[str, ...]  # tensors of the model that the architecture lacks


def layout_of(compacted: CompactModel, architecture: Gguf) -> Layout:
    """Return the tensors of a compact model as `architecture` expects them."""
    named, unknown = _named(compacted, architecture)
    config = compacted.model.config.get_text_config()
    of_experts = (
        x.shape[2] for n, (x, _) in named.items() if n.endswith(f"{_LAST}.weight")
    )
    width = next(of_experts, 1)
    tensors = [
        _file_tensor(name, source, layer, compacted.model, architecture, width)
        for name, (source, layer) in named.items()
    ]
    if architecture.has_own_head and "output.weight" not in named:
        source, _ = named["token_embd.weight"]
        tensors.append(FileTensor("output.weight", source))
    widths = _widths(tensors, compacted)
    if architecture.skips_parts:
        tensors, widths = _without_sub_layers(tensors, widths, config)
    return Layout(tensors, widths, tuple(unknown))


@lru_cache(maxsize=8)
def _name_map(architecture: str, blocks: int) -> TensorNameMap:
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(kinds[architecture], blocks)


def _named(
    compacted: CompactModel, architecture: Gguf
) -> tuple[dict[str, tuple[TensorSlice, str]], list[str]]:
    """Return the tensors of the language model by name, each with its module.

    Norms of single heads become one tensor. The second list has the names of tensors
    that `architecture` does not know.
    """
    names = _name_map(architecture.architecture, len(compacted.blocks))
    is_part = compacted.model.config.get_text_config() is not compacted.model.config
    prefix = f"{body_path(compacted.model)}." if is_part else ""  # images are read, too
    found: dict[str, tuple[TensorSlice, str]] = {}
    of_heads: dict[str, list[Tensor]] = {}
    of_experts = expert_tensors(compacted.model)
    unknown = []
    for name, source in compacted.tensors.items():
        if not name.startswith((prefix, "lm_head.")):
            continue  # in a tower for images or sound
        original = compacted.original_name(name)
        layer = original.rpartition(".")[0]
        if original in of_experts:
            stacked = of_experts[original]
            parts = named_parts(name, source, compacted.model, layer, stacked)
            found |= {part: (each, original if stacked else "") for part, each in parts}
            continue
        plain = _OF_HEAD.sub("", name.replace(prefix, "model.", 1) if prefix else name)
        for theirs, ours in architecture.renames.items():
            plain = plain.replace(theirs, ours)
        ours = _name_in(names, plain)
        if not ours:
            unknown.append(name)
            continue
        if _OF_HEAD.search(name):
            of_heads.setdefault(ours, []).append(source.tensor())
            source = TensorSlice(torch.stack(of_heads[ours]))
        if architecture.has_latent_keys and ".attn_kv_b." in ours:
            keys, values = _latent_parts(source, compacted.model.config)
            found[ours.replace("attn_kv_b", "attn_k_b")] = (keys, "")
            found[ours.replace("attn_kv_b", "attn_v_b")] = (values, layer)
            continue
        found[ours] = (source, layer)
    return found, unknown


def _name_in(names: TensorNameMap, name: str) -> str:
    """Return the name of a tensor in the file; empty if there is none."""
    suffixes = (".weight", ".bias", ".scale")
    found = names.get_name(name, suffixes) or names.get_name(
        name.removeprefix("transformer."), suffixes
    )
    return str(found or "")


def _latent_parts(
    source: TensorSlice, config: PretrainedConfig
) -> tuple[TensorSlice, TensorSlice]:
    """Return the weights from latents to keys, transposed, and to values, by head."""
    text = config.get_text_config()
    keys, values = text.qk_nope_head_dim, text.v_head_dim
    size = keys + values
    by_head = source.whole.unflatten(0, (-1, size))
    kept = source.kept[0] if source.kept else None
    heads = None if kept is None else kept[::size] // size
    return (
        TensorSlice(by_head[:, :keys].transpose(1, 2), (heads,)),
        TensorSlice(by_head[:, keys:], (heads,)),
    )


def _file_tensor(
    name: str,
    source: TensorSlice,
    layer: str,
    model: PreTrainedModel,
    architecture: Gguf,
    expert_width: int,
) -> FileTensor:
    family = family_of(model.config.get_text_config().model_type)
    is_stacked = "_exps." in name
    module = model.get_submodule(layer) if layer and not is_stacked else None
    if isinstance(module, Conv1D) and name.endswith(".weight"):
        source = _transposed(source)
    source = _changed(name, source, architecture)
    source = _in_order(name, source, model, architecture)
    is_rounded = isinstance(module, _BY_FORMAT) and name != _POSITIONS
    is_rounded &= _part(name) not in _FLOAT32
    is_rounded |= name.endswith("_exps.weight") or _part(name) == "attn_k_b"
    return FileTensor(
        name,
        source,
        layer,
        is_float32=not is_rounded or len(source.shape) == 1,
        **_filling(name, source, family, architecture, expert_width),
    )


def _changed(name: str, source: TensorSlice, architecture: Gguf) -> TensorSlice:
    """Return a small tensor with other values or another shape in the file."""
    is_norm = name.endswith("norm.weight") and _part(name) != "ssm_norm"
    if architecture.adds_one and is_norm:
        return TensorSlice(source.tensor() + 1)
    if _part(name) == "ssm_a":  # the decay; the model holds its logarithm
        return TensorSlice(-source.tensor().float().exp())
    if _part(name) == "ffn_gate_inp_shexp":  # a layer with one row
        return TensorSlice(source.tensor().squeeze(0))
    is_convolution = _part(name) in ("ssm_conv1d", "shortconv")
    if source.whole.ndim == 3 and is_convolution:  # features x 1 x length
        return TensorSlice(source.whole.squeeze(1), source.kept[:1])
    return source


def _in_order(
    name: str, source: TensorSlice, model: PreTrainedModel, architecture: Gguf
) -> TensorSlice:
    """Return a tensor with its rows, or columns, in the order of the file."""
    config = model.config.get_text_config()
    part = _part(name)
    if part == "ssm_out":
        columns = _transposed(source)
        return _transposed(_reordered(columns, _value_order(part, columns, config)))
    order = _row_order(name, source, config, architecture)
    return source if order is None else _reordered(source, order)


def _transposed(source: TensorSlice) -> TensorSlice:
    return TensorSlice(source.whole.T, source.kept[::-1])


def _row_order(
    name: str, source: TensorSlice, config: PretrainedConfig, architecture: Gguf
) -> Tensor | None:
    """Return the order of a tensor's rows in the file; None: as in the model."""
    part, order = _part(name), torch.arange(source.shape[0])
    if architecture.rotates_pairs and part in ("attn_q", "attn_k"):
        return order.view(-1, 2, head_size(config) // 2).transpose(1, 2).flatten()
    rule = family_of(config.model_type).attention
    fused = rule.producers[0] if rule and len(rule.producers) == 1 else None
    if part == "attn_qkv" and fused and fused.order is Order.BY_GROUP:
        heads, size = config.num_attention_heads, head_size(config)
        groups = _kv_heads(source.whole.shape[0], heads, size)
        order = order.view(-1, heads // groups + 2, size)
        parts = (order[:, :-2], order[:, -2], order[:, -1])
        return torch.cat([part.flatten() for part in parts])
    if hasattr(config, "linear_num_value_heads") and part in _OF_VALUES:
        return _value_order(part, source, config)
    return None


def _value_order(part: str, source: TensorSlice, config: PretrainedConfig) -> Tensor:
    """Return the order of rows; rows of values are the last ones.

    Heads of values that share a key are neighbors in the model. In the file, the first
    head of each remaining key comes first.
    """
    heads = config.linear_num_value_heads // config.linear_num_key_heads
    size = 1 if part in _OF_EACH_HEAD else config.linear_value_head_dim
    others = 2 * config.linear_key_head_dim if part in _AFTER_KEYS else 0
    order = torch.arange(source.shape[0])
    before = len(order) // (others + heads * size) * others
    by_key = order[before:].view(-1, heads, size)
    return torch.cat([order[:before], by_key.transpose(0, 1).flatten()])


def _part(name: str) -> str:
    """Return the name of a tensor inside its block; empty if it is in none."""
    first, _, rest = name.partition(".")
    return rest.split(".")[1] if first == "blk" else ""


def _kv_heads(rows: int, heads: int, size: int) -> int:
    """Return the heads of keys in fused queries, keys and values."""
    return (rows // size - heads) // 2


def _reordered(source: TensorSlice, order: Tensor) -> TensorSlice:
    kept = (*source.kept, *[None] * source.whole.ndim)[: source.whole.ndim]
    rows = torch.arange(source.whole.shape[0]) if kept[0] is None else kept[0]
    return TensorSlice(source.whole, (rows[order.to(rows.device)], *kept[1:]))


def _filling(
    name: str,
    source: TensorSlice,
    family: Family,
    architecture: Gguf,
    expert_width: int,
) -> dict[str, int]:
    """Return the padding of an MLP's width, as arguments of `FileTensor`."""
    part = _part(name)
    if part.endswith("_shexp") and architecture.counts_shared:
        side = 1 if part == "ffn_down_shexp" else 0
        added = -source.shape[side] % expert_width
        return {("added_rows", "added_columns")[side]: added}
    if part == "ffn_down" and name.endswith(".weight"):
        full, kept = source.whole.shape[1], source.shape[1]
        return {"added_columns": _filled_up(kept, full) - kept}
    if part not in ("ffn_gate", "ffn_up"):
        return {}
    rule = family.mlp
    parts = len(rule.producers[0].parts) if rule else 1
    full, kept = source.whole.shape[0] // parts, source.shape[0] // parts
    return {"added_rows": _filled_up(kept, full) - kept, "row_parts": parts}


def _filled_up(neurons: int, full: int) -> int:
    """Return the width in the file of an MLP with `neurons` of its `full` neurons.

    Neurons of zeros, which change nothing, fill the rows up to whole blocks of
    quantized numbers. llama.cpp computes such widths faster, too.
    """
    filled = -(-neurons // _BLOCK) * _BLOCK
    return filled if neurons and full % _BLOCK == 0 else neurons


def _widths(tensors: Sequence[FileTensor], compacted: CompactModel) -> Widths:
    shapes = {each.name: each.shape for each in tensors}
    config = compacted.model.config.get_text_config()
    widths = Widths()
    for block, original in enumerate(compacted.blocks):
        is_mixed = getattr(config, "is_heterogeneous", False)
        own = config.per_layer_config[original] if is_mixed else config
        size = head_size(own)

        def side(part: str, dimension: int, block: int = block) -> int:
            shape = shapes.get(f"blk.{block}.{part}.weight")
            return shape[dimension] if shape else 0

        is_latent = bool(side("attn_kv_a_mqa", 0))
        heads = side("attn_output", 1) // (own.v_head_dim if is_latent else size)
        if is_latent:  # all heads share one latent key
            keys, size = 1, own.qk_rope_head_dim
        elif fused := side("attn_qkv", 0):
            keys = _kv_heads(fused, heads, size) if heads else 0
        elif heads and not side("attn_k", 0):  # it reads the keys of another block
            keys = heads * own.num_key_value_heads // own.num_attention_heads
        else:
            keys = side("attn_k", 0) // size
        widths.neurons.append(side("ffn_down", 1))
        widths.heads.append(heads)
        widths.kv_heads.append(keys)
        widths.head_sizes.append(size)
        decay = shapes.get(f"blk.{block}.ssm_a")
        widths.value_heads.append(decay[0] if decay else 0)
        widths.experts.append(side(_LAST, 0))
        widths.expert_neurons.append(side(_LAST, 2))
        widths.shared_neurons.append(side("ffn_down_shexp", 1))
    return widths


def _without_sub_layers(
    tensors: Sequence[FileTensor], widths: Widths, config: PretrainedConfig
) -> tuple[list[FileTensor], Widths]:
    """Return the tensors and widths with stand-ins for removed attentions and MLPs."""
    full = config.intermediate_size
    neurons = [n or _filled_up(1, full) for n in widths.neurons]
    heads, kv_heads = list(widths.heads), list(widths.kv_heads)
    if not heads[0]:
        shared = config.num_attention_heads // config.num_key_value_heads
        heads[0], kv_heads[0] = shared, 1
    widths = replace(widths, neurons=neurons, heads=heads, kv_heads=kv_heads)
    complete: list[FileTensor] = []
    begun: set[int] = set()
    for each in tensors:
        block = each.block
        if block is not None and block not in begun:
            begun.add(block)
            complete += _zero_tensors(tensors, widths, block, config)
        # llama.cpp does not expect the norm before no attention.
        if block is None or heads[block] or _part(each.name) != "attn_norm":
            complete.append(each)
    return complete, widths


def _zero_tensors(
    tensors: Sequence[FileTensor],
    widths: Widths,
    block: int,
    config: PretrainedConfig,
) -> Iterator[FileTensor]:
    """Yield the layers of zeros that stand for a removed sub-layer."""
    size, hidden = widths.head_sizes[block], config.hidden_size
    queries, keys = widths.heads[block] * size, widths.kv_heads[block] * size
    neurons = widths.neurons[block]
    shapes = part_shapes(hidden, queries, keys, neurons)
    names = {each.name for each in tensors}
    with_bias = {_part(name) for name in names if name.endswith(".bias")}
    for part, (rows, columns) in shapes.items():
        name = f"blk.{block}.{part}"
        if f"{name}.weight" in names or not rows * columns:
            continue
        yield FileTensor(f"{name}.weight", TensorSlice(torch.zeros(rows, columns)))
        if part in with_bias:
            bias = TensorSlice(torch.zeros(rows))
            yield FileTensor(f"{name}.bias", bias, is_float32=True)
