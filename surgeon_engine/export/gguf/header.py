"""The options of a model in the header of a GGUF file.

The keys are the same in all of llama.cpp's architectures, and so are most names of
options in transformers: one table serves all families. An architecture ignores the keys
that it does not read. `Gguf.options` has the options of single architectures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from gguf import GGUFValueType, GGUFWriter
from torch import Tensor
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from surgeon_engine.compaction.shrink import CompactModel
from surgeon_engine.compaction.slices import TensorSlice
from surgeon_engine.export.gguf.layout import Widths
from surgeon_engine.export.gguf.tensors import FileTensor
from surgeon_engine.model.experts import experts_of
from surgeon_engine.model.gguf_entries import FLOATS, LENGTHS
from surgeon_engine.model.rules import Gguf

# Kinds of scaled positions that all architectures read from the header.
HEADER_ROPES = ("default", "linear", "yarn")
LONG_ROPE = "longrope"
_FACTORS = "rope_freqs.weight"
_UNROTATED = 1e30  # a factor of frequencies of 0
_NO_CONTEXT = 2048  # tokens, for models that state none (ALiBi)
# The names of the number of experts that all tokens use.
_SHARED = ("n_shared_experts", "moe_num_shared_experts", "num_shared_experts")
_KINDS: Mapping[type, GGUFValueType] = {
    bool: GGUFValueType.BOOL,
    int: GGUFValueType.UINT32,
    float: GGUFValueType.FLOAT32,
    str: GGUFValueType.STRING,
}


class Options:
    """The options of the language model in a compact model, by name."""

    def __init__(self, compacted: CompactModel) -> None:
        self.config: PretrainedConfig = compacted.model.config.get_text_config()
        # Options of the tower that reads images; None: there is none.
        self.vision = getattr(compacted.model.config, "vision_config", None)
        self._changed = compacted.depth_config
        # Experts per token.
        self.chosen_experts = max(
            (x.chosen for x in experts_of(compacted.model)), default=0
        )

    def get(self, *names: str) -> Any:
        """Return the first option of these names that is set; None if none is."""
        for name in names:
            value = self._changed.get(name, getattr(self.config, name, None))
            if value is not None:
                return value
        return None

    @property
    def rope(self) -> Mapping[str, Any]:
        """How positions are rotated, in blocks without a sliding window."""
        return self.rope_of("full_attention")

    @property
    def window_blocks(self) -> list[bool]:
        """Whether each block has a sliding window."""
        window, kinds = self.get("sliding_window"), self.get("layer_types")
        if not window:
            return []
        if kinds is None:
            names = self.config.attribute_map or {}
            blocks = self.get(names.get("num_hidden_layers", "num_hidden_layers"))
            return [True] * blocks  # the remaining ones
        return [kind == "sliding_attention" for kind in kinds]

    def rope_of(self, kind: str) -> Mapping[str, Any]:
        """Return how positions are rotated in a kind of blocks."""
        rope: Mapping[str, Any] = self.get("rope_parameters") or {}
        return rope.get(kind) or rope


def add_options(
    writer: GGUFWriter, options: Options, widths: Widths, architecture: Gguf
) -> None:
    """Add the options that llama.cpp needs to the header."""

    def add(key: str, value: Any, kind: type | None = None) -> None:
        full = f"{architecture.architecture}.{key}"
        if isinstance(value, list):
            inner = GGUFValueType.BOOL if value[0] in (True, False) else None
            inner = GGUFValueType.INT32 if type(value[0]) is int else inner
            writer.add_key_value(full, value, GGUFValueType.ARRAY, inner)
        else:
            kind = kind or type(value)
            writer.add_key_value(full, kind(value), _KINDS[kind])

    _add_sizes(add, options, widths, architecture)
    _add_repeated(add, options, architecture)
    if options.rope:
        _add_rope(add, options, widths, architecture)
    if options.get("linear_num_value_heads"):
        _add_linear_attention(add, options, widths)
    if any(widths.experts):
        _add_experts(add, options, widths, architecture)


def _add_repeated(
    add: Callable[..., None], options: Options, architecture: Gguf
) -> None:
    """Add the options that the header repeats as they are."""
    for key, names in FLOATS.items():
        if (number := options.get(*names)) is not None:
            add(key, number, float)
    for key, name in architecture.options.items():
        if (value := options.get(name)) is not None:
            add(key, value)
    blocks = options.window_blocks
    if architecture.has_windows and any(blocks):
        add("attention.sliding_window", options.get("sliding_window"))
        add("attention.sliding_window_pattern", blocks)
    if taken := getattr(options.vision, "deepstack_visual_indexes", None):
        add("n_deepstack_layers", len(taken))


def _add_sizes(
    add: Callable[..., None], options: Options, widths: Widths, architecture: Gguf
) -> None:
    def width(each: Sequence[int]) -> int | list[int]:
        return list(each) if is_listed else max(each)

    parts = (widths.neurons, widths.heads, widths.kv_heads, widths.head_sizes)
    is_listed = architecture.own_widths and any(len(set(each)) > 1 for each in parts)

    add("vocab_size", options.config.vocab_size)
    add("context_length", context_of(options, architecture))
    add("embedding_length", options.config.hidden_size)
    add("block_count", len(widths.heads))
    has_mlps = any(widths.neurons)
    add(
        "feed_forward_length",
        width(widths.neurons if has_mlps else widths.expert_neurons),
    )
    add("attention.head_count", width(widths.heads))
    keys = widths.kv_heads
    add("attention.head_count_kv", keys if architecture.marks_heads else width(keys))
    if architecture.has_latent_keys:
        _add_latent_sizes(add, options)
        return
    # Without them llama.cpp divides the embedding by the number of remaining heads.
    size, of_windows = head_sizes(options, widths)
    for part in ("key", "value"):
        add(f"attention.{part}_length", size)
        if of_windows != size:
            add(f"attention.{part}_length_swa", of_windows)


def _add_latent_sizes(add: Callable[..., None], options: Options) -> None:
    latent, rotated = options.get("kv_lora_rank"), options.get("qk_rope_head_dim")
    add("attention.q_lora_rank", options.get("q_lora_rank") or 0)
    add("attention.kv_lora_rank", latent)
    add("attention.key_length", latent + rotated)
    add("attention.value_length", latent)
    add("attention.key_length_mla", options.get("qk_nope_head_dim") + rotated)
    add("attention.value_length_mla", options.get("v_head_dim"))


def _add_experts(
    add: Callable[..., None], options: Options, widths: Widths, architecture: Gguf
) -> None:
    add("expert_count", max(widths.experts))
    add("expert_used_count", options.chosen_experts)
    add("expert_feed_forward_length", max(widths.expert_neurons))
    shared = max(widths.shared_neurons)
    if shared:
        add("expert_shared_feed_forward_length", shared)
    count = options.get(*_SHARED)
    if architecture.counts_shared and shared:
        count = shared // max(widths.expert_neurons)
    if count is not None:
        add("expert_shared_count", count)
    if (is_normal := options.get("norm_topk_prob")) is not None:
        add("expert_weights_norm", is_normal, bool)
    if architecture.gating:
        add("expert_gating_func", architecture.gating)
    if architecture.has_dense_blocks:
        add("leading_dense_block_count", widths.dense_blocks)
    classes, chosen = options.get("n_group") or 1, options.get("topk_group") or 1
    if classes > chosen:
        add("expert_group_count", classes)
        add("expert_group_used_count", chosen)


def head_sizes(options: Options, widths: Widths) -> tuple[int, int]:
    """Return the size of a head, and its size in blocks with a sliding window."""
    sizes = widths.head_sizes
    blocks = options.window_blocks or [False] * len(sizes)
    by_kind = dict(zip(blocks, sizes, strict=True))
    return by_kind.get(False, sizes[0]), by_kind.get(True, sizes[0])


def context_of(options: Options, architecture: Gguf) -> int:
    """Return the context length up to which the file computes the same as the model.

    If the architecture has no sliding windows, it is at most one window of the model.
    """
    context: int = options.get("max_position_embeddings") or _NO_CONTEXT
    if any(options.window_blocks) and not architecture.has_windows:
        return min(context, options.get("sliding_window"))
    return context


def _add_rope(
    add: Callable[..., None], options: Options, widths: Widths, architecture: Gguf
) -> None:
    rope, of_windows = options.rope, options.rope_of("sliding_attention")
    size, window_size = head_sizes(options, widths)
    add("rope.dimension_count", rotated_size(rope, size))
    add("rope.freq_base", rope["rope_theta"], float)
    if architecture.has_windows and any(options.window_blocks):
        add("rope.freq_base_swa", of_windows["rope_theta"], float)
        if window_size != size:
            add("rope.dimension_count_swa", rotated_size(of_windows, window_size))
    if sections := rope.get("mrope_section", architecture.position_sections):
        add("rope.dimension_sections", [*sections, 0, 0, 0, 0][:4])
    kind = rope.get("rope_type", "default")
    if kind == LONG_ROPE:
        _, factor = ROPE_INIT_FUNCTIONS[kind](options.config, torch.device("cpu"))
        context = rope["original_max_position_embeddings"]
        add("rope.scaling.original_context_length", context)
        add("rope.scaling.attn_factor", factor, float)
    if kind not in HEADER_ROPES or kind == "default":
        return
    add("rope.scaling.type", kind)
    add("rope.scaling.factor", rope["factor"], float)
    if kind == "yarn":
        context = rope.get("original_max_position_embeddings")
        add("rope.scaling.original_context_length", context)
        if (factor := rope.get("attention_factor")) is not None:
            usual = 0.1 * math.log(rope["factor"]) + 1.0
            add("rope.scaling.attn_factor", factor / usual, float)
        if (scale := rope.get("mscale_all_dim")) and architecture.has_latent_keys:
            add("rope.scaling.yarn_log_multiplier", 0.1 * scale, float)


def _add_linear_attention(
    add: Callable[..., None], options: Options, widths: Widths
) -> None:
    values = max(widths.value_heads)
    shared = options.get("linear_num_value_heads") // options.get(
        "linear_num_key_heads"
    )
    kinds: list[str] = options.get("layer_types")
    add("attention.recurrent_layers", [kind == "linear_attention" for kind in kinds])
    add("ssm.conv_kernel", options.get("linear_conv_kernel_dim"))
    add("ssm.state_size", options.get("linear_key_head_dim"))
    add("ssm.group_count", values // shared)
    add("ssm.time_step_rank", values)
    add("ssm.inner_size", values * options.get("linear_value_head_dim"))


def rotated_size(rope: Mapping[str, Any], size: int) -> int:
    """Return how many features of a head are rotated, some of them by nothing."""
    if rope.get("rope_type") == "proportional":
        return size
    return int(size * rope.get("partial_rotary_factor", 1.0))


def rope_tensors(
    options: Options, widths: Widths, architecture: Gguf
) -> list[FileTensor]:
    """Return the divisors of the rotary frequencies, if the header cannot say them."""
    kind = options.rope.get("rope_type", "default")
    if kind == LONG_ROPE:
        return [
            _factors(each, torch.tensor(options.rope[name]))
            for name, each in LENGTHS.items()
        ]
    if kind in HEADER_ROPES or not architecture.scales_by_factors:
        return []
    size, _ = head_sizes(options, widths)
    return [_factors(_FACTORS, _rope_factors(options, kind, size))]


def _factors(name: str, factors: Tensor) -> FileTensor:
    return FileTensor(name, TensorSlice(factors.float()), is_float32=True)


def _rope_factors(options: Options, kind: str, size: int) -> Tensor:
    is_by_kind = options.rope is not options.get("rope_parameters")
    scaled, _ = ROPE_INIT_FUNCTIONS[kind](
        options.config,
        torch.device("cpu"),
        layer_type="full_attention" if is_by_kind else None,
    )
    powers = torch.arange(0, size, 2, dtype=torch.float32) / size
    factors = 1.0 / (options.rope["rope_theta"] ** powers * scaled)
    return factors.clamp_max(_UNROTATED)
