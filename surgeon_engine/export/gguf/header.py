"""The options of a model in the header of a GGUF file.

The keys are the same in all of llama.cpp's architectures, and so are most names of
options in transformers: one table serves all families. An architecture ignores the keys
that it does not read. `Gguf.options` has what only one architecture needs.
"""

from __future__ import annotations

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
from surgeon_engine.model.families import Gguf
from surgeon_engine.model.layers import head_size

# Kinds of scaled positions that all architectures read from the header.
HEADER_ROPES = ("default", "linear", "yarn")
_FACTORS = "rope_freqs.weight"
_NO_CONTEXT = 2048  # tokens, for models that state none (ALiBi)
# Keys of numbers with a fraction, and the options that they repeat.
_FLOATS = {
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": (
        "layer_norm_epsilon",
        "layer_norm_eps",
        "norm_epsilon",
    ),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "attention.scale": ("attention_multiplier",),
    "logit_scale": ("logits_scaling", "logit_scale"),
}
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
        self._changed = compacted.depth_config

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
        return self._rope_of("full_attention")

    @property
    def window_rope(self) -> Mapping[str, Any]:
        """The same for blocks with a sliding window."""
        return self._rope_of("sliding_attention")

    @property
    def window_blocks(self) -> list[bool]:
        """Whether each block has a sliding window."""
        window, kinds = self.get("sliding_window"), self.get("layer_types")
        if not window:
            return []
        if kinds is None:
            return [True] * self.config.num_hidden_layers
        return [kind == "sliding_attention" for kind in kinds]

    def _rope_of(self, kind: str) -> Mapping[str, Any]:
        rope: Mapping[str, Any] = self.get("rope_parameters") or {}
        return rope.get(kind) or rope


def add_options(
    writer: GGUFWriter, options: Options, widths: Widths, architecture: Gguf
) -> None:
    """Add what llama.cpp needs to know of the model to the header."""

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
    for key, names in _FLOATS.items():
        if (number := options.get(*names)) is not None:
            add(key, number, float)
    for key, name in architecture.options.items():
        if (value := options.get(name)) is not None:
            add(key, value)
    if architecture.has_windows and (blocks := options.window_blocks):
        add("attention.sliding_window", options.get("sliding_window"))
        add("attention.sliding_window_pattern", blocks)
    if options.rope:
        _add_rope(add, options, architecture)


def _add_sizes(
    add: Callable[..., None], options: Options, widths: Widths, architecture: Gguf
) -> None:
    def width(each: Sequence[int]) -> int | list[int]:
        return each[0] if widths.are_uniform else list(each)

    size = head_size(options.config)
    add("vocab_size", options.config.vocab_size)
    add("context_length", context_of(options, architecture))
    add("embedding_length", options.config.hidden_size)
    add("block_count", len(widths.heads))
    add("feed_forward_length", width(widths.neurons))
    add("attention.head_count", width(widths.heads))
    add("attention.head_count_kv", width(widths.kv_heads))
    # Without them llama.cpp divides the embedding by the number of remaining heads.
    add("attention.key_length", size)
    add("attention.value_length", size)


def context_of(options: Options, architecture: Gguf) -> int:
    """Return the tokens for which the file computes what the model does.

    They are those of a sliding window that the architecture does not have.
    """
    context: int = options.get("max_position_embeddings") or _NO_CONTEXT
    if any(options.window_blocks) and not architecture.has_windows:
        return min(context, options.get("sliding_window"))
    return context


def _add_rope(add: Callable[..., None], options: Options, architecture: Gguf) -> None:
    rope = options.rope
    add("rope.dimension_count", rotated_size(options))
    add("rope.freq_base", rope["rope_theta"], float)
    if architecture.has_windows and any(options.window_blocks):
        add("rope.freq_base_swa", options.window_rope["rope_theta"], float)
    kind = rope.get("rope_type", "default")
    if kind not in HEADER_ROPES or kind == "default":
        return
    add("rope.scaling.type", kind)
    add("rope.scaling.factor", rope["factor"], float)
    if kind == "yarn":
        context = rope.get("original_max_position_embeddings")
        add("rope.scaling.original_context_length", context)


def rotated_size(options: Options) -> int:
    """Return how many features of a head are rotated."""
    share = options.rope.get("partial_rotary_factor", 1.0)
    return int(head_size(options.config) * share)


def rope_tensors(options: Options, architecture: Gguf) -> list[FileTensor]:
    """Return the divisors of the rotary frequencies, if the header cannot say them."""
    kind = options.rope.get("rope_type", "default")
    if kind in HEADER_ROPES or not architecture.scales_by_factors:
        return []
    factors = TensorSlice(_rope_factors(options, kind))
    return [FileTensor(_FACTORS, factors, is_float32=True)]


def _rope_factors(options: Options, kind: str) -> Tensor:
    scaled, _ = ROPE_INIT_FUNCTIONS[kind](options.config, torch.device("cpu"))
    size = head_size(options.config)
    powers = torch.arange(0, size, 2, dtype=torch.float32) / size
    return 1.0 / (options.rope["rope_theta"] ** powers * scaled)
