"""Choose the architecture of a GGUF file, or tell why llama.cpp has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgeon_engine.api.config.pruning import SAME_WIDTHS
from surgeon_engine.base.sentences import say
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.shrink import CompactModel, compact
from surgeon_engine.export.gguf.header import (
    HEADER_ROPES,
    LONG_ROPE,
    Options,
    context_of,
    head_sizes,
    rotated_size,
)
from surgeon_engine.export.gguf.layout import Widths, layout_of
from surgeon_engine.model.families import ACTIVATIONS, family_of
from surgeon_engine.model.gguf_entries import YARN
from surgeon_engine.model.rules import Gguf

_WITHOUT_HEADS = ("conv", "linear_attention")  # kinds of blocks without keys
_WITHOUT_WINDOWS = ("gemma3", "olmo2")  # architectures that need none
# Kinds of scaled positions that are factors in a file.
_FACTOR_ROPES = ("llama3", "proportional")
# Options of yarn that no header states, with the values that llama.cpp takes.
_YARN = YARN | {"truncate": True, "mscale": None}
_ALL_DIM = "mscale_all_dim"


def architecture_of(compacted: CompactModel) -> Gguf:
    """Return the architecture that a model is written in.

    It is the first of its family that can hold it. If none can, it is the last.
    """
    architecture, _ = _judged(compacted)
    return architecture


def unsupported_reason(pruned: PrunedModel) -> str:
    """Return why no architecture of llama.cpp can hold a model; empty if one can."""
    config = pruned.loaded.model.config.get_text_config()
    if not family_of(config.model_type).gguf:
        return say(
            "Surgeon writes no GGUF files of this architecture ({model_type}).",
            model_type=config.model_type,
        )
    if pruned.plan.layers:
        return say(
            "llama.cpp does not support layers with removed rows and columns, "
            "only removed heads and neurons."
        )
    _, reason = _judged(compact(pruned.loaded.model, pruned.plan))
    return reason


def notes(compacted: CompactModel) -> tuple[str, ...]:
    """Return notes on a model's file for its readers."""
    found = []
    options, architecture = Options(compacted), architecture_of(compacted)
    context = context_of(options, architecture)
    if context < (options.get("max_position_embeddings") or 0):
        found.append(
            say(
                "llama.cpp computes this model without its sliding window: the GGUF "
                "file states a context of {context:,} tokens, as long as the window.",
                context=context,
            )
        )
    if architecture.truncates and options.rope.get("truncate") is False:
        found.append(
            say(
                "llama.cpp rounds the limits of yarn in this architecture, and this "
                "model does not: predictions differ a little, as in all GGUF files of "
                "this family."
            )
        )
    if compacted.model.config.get_text_config() is not compacted.model.config:
        found.append(
            say(
                "The GGUF file holds the language model alone. The original's mmproj "
                "file fits it unchanged, because the hidden size is the same."
            )
        )
    return tuple(found)


def _judged(compacted: CompactModel) -> tuple[Gguf, str]:
    """Return the architecture of a model, and why it cannot hold it; empty: it can."""
    options = Options(compacted)
    first, *others = family_of(options.config.model_type).gguf
    architecture, reason = first, _reason(first, compacted, options)
    for each in others:
        if reason:
            architecture, reason = each, _reason(each, compacted, options)
    return architecture, reason


def _reason(architecture: Gguf, compacted: CompactModel, options: Options) -> str:
    """Return why an architecture cannot hold a model; empty if it can."""
    if reason := _option_reason(architecture, options):
        return reason
    layout = layout_of(compacted, architecture)
    widths = layout.widths
    if reason := (
        _width_reason(architecture, widths, options)
        or _rope_reason(architecture, widths, options)
        or _scale_reason(architecture, widths, options)
    ):
        return reason
    if layout.unknown:
        return say(
            "llama.cpp does not support the tensor {unknown}.",
            unknown=layout.unknown[0],
        )
    return ""


def _option_reason(architecture: Gguf, options: Options) -> str:
    activation = options.get(*ACTIVATIONS)
    if architecture.activations and activation not in architecture.activations:
        return say(
            "llama.cpp computes {expected} in these MLPs, not {found}.",
            expected=architecture.activations[0],
            found=activation,
        )
    for name, expected in architecture.assumes.items():
        if (found := options.get(name)) != expected:
            return say(
                "llama.cpp takes {name} = {expected} for granted in this "
                "architecture, and this model has {found}.",
                name=name,
                expected=expected,
                found=found,
            )
    return ""


def _rope_reason(architecture: Gguf, widths: Widths, options: Options) -> str:
    rope = options.rope
    kind = rope.get("rope_type", "default")
    factors = _FACTOR_ROPES if architecture.scales_by_factors else ()
    by_length = (LONG_ROPE,) if architecture.scales_by_length else ()
    kinds = (*HEADER_ROPES, *factors, *by_length)
    if rope and kind not in kinds:
        return say(
            "This GGUF architecture does not support positions scaled by {kind}.",
            kind=kind,
        )
    if kind == "yarn" and architecture.has_latent_keys and not rope.get(_ALL_DIM):
        return say(
            "This GGUF architecture does not support positions scaled by {kind}.",
            kind=f"yarn ({_ALL_DIM} = {rope.get(_ALL_DIM)})",
        )
    for name, usual in _yarn(architecture, rope).items() if kind == "yarn" else ():
        if (found := rope.get(name)) not in (None, usual):
            return say(
                "llama.cpp scales positions by yarn with {name} = {usual}, not "
                "{found}.",
                name=name,
                usual=usual,
                found=found,
            )
    step, rotates = architecture.skips_rotation, options.get("no_rope_layers")
    if step and rotates != [int((i + 1) % step != 0) for i in range(len(rotates))]:
        return say(
            "llama.cpp rotates no positions in each {step}-th block of this "
            "architecture, and this model in others: drop no blocks.",
            step=step,
        )
    size, _ = head_sizes(options, widths)
    rotated = rotated_size(rope, size)
    if rotated % 2 or (rotated != size and not architecture.rotates_parts):
        return say(
            "llama.cpp rotates whole queries and keys, this model parts of them."
        )
    return ""


def _yarn(architecture: Gguf, rope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that llama.cpp takes for options of yarn."""
    usual = dict(_YARN)
    if architecture.truncates:
        del usual["truncate"]
    if architecture.has_latent_keys:
        usual["mscale"] = rope[_ALL_DIM]
    return usual


def _width_reason(architecture: Gguf, widths: Widths, options: Options) -> str:
    kinds = options.get("layer_types") or [""] * len(widths.heads)
    if reason := _experts_reason(architecture, widths):
        return reason
    both = zip(widths.neurons, widths.experts, strict=True)
    lacks_parts = not all(map(any, both)) or any(
        not heads and kind not in _WITHOUT_HEADS
        for heads, kind in zip(widths.heads, kinds, strict=True)
    )
    if lacks_parts and not architecture.skips_parts:
        return say(
            "llama.cpp's architecture {name} has no blocks without an attention or "
            "MLP: set {setting:choice} to 0.",
            setting="pruning.dropped_sublayers",
            name=architecture.architecture,
        )
    name, size = architecture.architecture, widths.head_sizes[0]
    if not any(widths.heads):
        return say("llama.cpp's architecture {name} needs an attention.", name=name)
    windows = options.window_blocks
    lacks_windows = architecture.has_windows and windows and not any(windows)
    if lacks_windows and name not in _WITHOUT_WINDOWS:
        return say(
            "llama.cpp's architecture {name} needs a block with a sliding window.",
            name=name,
        )
    is_ragged = not architecture.own_widths and not widths.are_uniform
    hidden = options.config.hidden_size
    lacks_heads = any(heads and heads * size != hidden for heads in widths.heads)
    if architecture.all_heads and lacks_heads and is_ragged:
        return say(
            "llama.cpp's architecture {name} has all heads of the original, and the "
            "same widths in all blocks: prune the original again, with the structure "
            "neurons and {setting:choice}.",
            name=name,
            setting=SAME_WIDTHS,
        )
    if architecture.all_heads and lacks_heads:
        return say(
            "llama.cpp's architecture {name} has all heads of the original: prune the "
            "original with the structure neurons.",
            name=name,
        )
    if is_ragged:
        return say(
            "llama.cpp's architecture {name} has the same widths in all blocks: prune "
            "the original again with {setting:choice}.",
            name=name,
            setting=SAME_WIDTHS,
        )
    return ""


def _experts_reason(architecture: Gguf, widths: Widths) -> str:
    """Return why an architecture cannot hold the experts; empty if it can."""
    if not widths.have_equal_experts:
        return say(
            "llama.cpp's architecture {name} has the same number of experts in all "
            "blocks, and of the same width: prune the original again with "
            "{setting:choice}.",
            name=architecture.architecture,
            setting=SAME_WIDTHS,
        )
    first = widths.dense_blocks
    is_mixed = any(widths.experts) and not all(widths.experts[first:])
    if is_mixed or (
        any(widths.experts) and first and not architecture.has_dense_blocks
    ):
        return say(
            "llama.cpp's architecture {name} has experts in all blocks but, at most, "
            "the first ones.",
            name=architecture.architecture,
        )
    return ""


def _scale_reason(architecture: Gguf, widths: Widths, options: Options) -> str:
    """Return why attention scores differ; empty if they do not."""
    scale = options.get("query_pre_attn_scalar")
    expected = architecture.score_size(
        len(widths.heads),
        options.config.hidden_size,
        max(widths.heads),
        widths.head_sizes[0],
    )
    if scale is None or scale == expected:
        return ""
    return say(
        "llama.cpp divides attention scores by the root of {expected} in this model, "
        "which divides them by the root of {scale}: keep all heads.",
        expected=expected,
        scale=scale,
    )
