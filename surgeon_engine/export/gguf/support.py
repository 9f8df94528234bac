"""Choose the architecture of a GGUF file, or tell why llama.cpp has none."""

from __future__ import annotations

from surgeon_engine.base.sentences import say
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.shrink import CompactModel, compact
from surgeon_engine.export.gguf.header import HEADER_ROPES, Options, rotated_size
from surgeon_engine.export.gguf.layout import Layout, layout_of
from surgeon_engine.model.families import ACTIVATIONS, Gguf, family_of
from surgeon_engine.model.layers import head_size

_FACTOR_ROPES = ("llama3",)  # kinds of scaled positions that are factors in a file


def architecture_of(compacted: CompactModel) -> Gguf:
    """Return the architecture that a model is written in.

    It is the first of its family that can hold it. If none can, it is the last.
    """
    options = Options(compacted)
    candidates = family_of(options.config.model_type).gguf
    for each in candidates:
        if not _reason(each, compacted, options):
            return each
    return candidates[-1]


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
    compacted = compact(pruned.loaded.model, pruned.plan)
    architecture = architecture_of(compacted)
    return _reason(architecture, compacted, Options(compacted))


def _reason(architecture: Gguf, compacted: CompactModel, options: Options) -> str:
    """Return why an architecture cannot hold a model; empty if it can."""
    if reason := _option_reason(architecture, options) or _rope_reason(
        architecture, options
    ):
        return reason
    layout = layout_of(compacted, architecture)
    if layout.unknown:
        return say(
            "llama.cpp does not support the tensor {unknown}.",
            unknown=layout.unknown[0],
        )
    return _width_reason(architecture, layout, options) or _scale_reason(
        architecture, layout, options
    )


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


def _rope_reason(architecture: Gguf, options: Options) -> str:
    rope = options.rope
    kind = rope.get("rope_type", "default")
    kinds = HEADER_ROPES
    if architecture.scales_by_factors:
        kinds += _FACTOR_ROPES
    if rope and kind not in kinds:
        return say(
            "This GGUF architecture does not support positions scaled by {kind}.",
            kind=kind,
        )
    step, rotates = architecture.skips_rotation, options.get("no_rope_layers")
    if step and rotates != [int((i + 1) % step != 0) for i in range(len(rotates))]:
        return say(
            "llama.cpp rotates no positions in each {step}-th block of this "
            "architecture, and this model in others: drop no blocks.",
            step=step,
        )
    size, rotated = head_size(options.config), rotated_size(options)
    if rotated % 2 or (rotated != size and not architecture.rotates_parts):
        return say(
            "llama.cpp rotates whole queries and keys, this model parts of them."
        )
    return ""


def _width_reason(architecture: Gguf, layout: Layout, options: Options) -> str:
    widths = layout.widths
    if not architecture.own_widths and not widths.are_uniform:
        return say(
            "llama.cpp reads one width for all blocks of this architecture "
            '({name}): set widths to "same", and remove no attention or MLP alone.',
            name=architecture.architecture,
        )
    queries = widths.heads[0] * head_size(options.config)
    if architecture.all_heads and queries != options.config.hidden_size:
        return say(
            "llama.cpp's architecture {name} needs all heads: remove neurons only.",
            name=architecture.architecture,
        )
    return ""


def _scale_reason(architecture: Gguf, layout: Layout, options: Options) -> str:
    """Return why attention scores differ; empty if they do not."""
    scale = options.get("query_pre_attn_scalar")
    expected = head_size(options.config)
    if len(layout.widths.heads) == architecture.blocks_of_wide_heads:
        expected = options.config.hidden_size // layout.widths.heads[0]
    if scale is None or scale == expected:
        return ""
    return say(
        "llama.cpp divides attention scores by the root of {expected} in this model, "
        "which divides them by the root of {scale}: keep all heads.",
        expected=expected,
        scale=scale,
    )
