"""Make the config of the model that llama.cpp runs from a GGUF file.

transformers leaves out entries of the header, and takes the usual values of its configs
instead. Surgeon reads them, and refuses files with entries or tensors that neither
transformers nor Surgeon reads: they would be another model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
from transformers.modeling_gguf_pytorch_utils import (
    TENSOR_PROCESSORS,
    TensorProcessor,
    get_gguf_hf_weights_map,
    load_gguf_checkpoint,
)

from surgeon_engine.base.sentences import say
from surgeon_engine.model.families import family_of
from surgeon_engine.model.gguf_entries import FLOATS, LENGTHS, ROPE, YARN, Entries
from surgeon_engine.model.rules import Gguf

# transformers lists them, and leaves out experts and sinks, or scales of blocks.
_UNREAD = ("gpt-oss", "gemma4")
_FULL, _WINDOW = "full_attention", "sliding_attention"
_LENGTH, _PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"
_WINDOW_BASE = "rope.freq_base_swa"
_PART, _CONTEXT = "partial_rotary_factor", "original_max_position_embeddings"
# Keys of sizes that transformers does not read in all architectures.
_SIZES = {
    "context_length": "max_position_embeddings",
    "attention.key_length": "head_dim",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
}
# Keys that say nothing more: the shapes and names of tensors tell it, or it concerns no
# predictions of tokens.
_KNOWN = (
    *("vocab_size", "feed_forward_length", "attention.head_count_kv"),
    *("attention.value_length", "use_parallel_residual", "tensor_data_layout"),
    *("rope.scaling.finetuned", "rope.dimension_sections", "pooling_type"),
    "expert_weights_norm",
    # llama.cpp does not read these in the architectures that transformers reads.
    *(f"rope.scaling.yarn_{x}" for x in ("attn_factor", "ext_factor", *YARN)),
)
# Values that change nothing.
_CAUSAL = "attention.causal"
_USUAL = {
    _CAUSAL: True,
    "expert_gating_func": 1,  # softmax
    "expert_weights_scale": 1.0,
    "logit_scale": 1.0,
}
_CAPS = ("attn_logit_softcapping", "final_logit_softcapping")
_EXPERTS = "_exps"  # the end of the names of their tensors
_OTHER_TOWERS = ("v.", "a.", "mm.", "vision.", "audio.")  # for images and sound


def config_of(path: Path) -> PretrainedConfig:
    """Return the config of the model that llama.cpp runs from a GGUF file.

    Raises:
        ModelError: Its header says something that the config cannot say.
    """
    entries = Entries(path)
    if entries.architecture in _UNREAD:
        raise entries.unreadable(
            say(
                "transformers does not read the GGUF architecture {architecture}",
                architecture=entries.architecture,
            )
        )
    options = load_gguf_checkpoint(path)["config"]
    model_type = options.pop("model_type")
    if entries.architecture == "llama":  # whatever the name of the model makes of it
        model_type = "llama"
    usual = CONFIG_MAPPING[model_type]()
    if not usual.is_encoder_decoder:  # else it is refused for that
        check_known(entries, usual)
    found = _architecture(entries, usual)
    options |= {
        name: value
        for key, name in _names(found, usual).items()
        if (value := entries.value(key)) is not None
    }
    options |= found.assumes
    options |= {name: None for name in _CAPS if options.get(name) == 0}
    for kind in ("bos", "eos", "pad"):
        options.setdefault(f"{kind}_token_id", None)
    options |= _attention(entries, found, usual)
    return AutoConfig.for_model(model_type, **options)


def check_known(entries: Entries, usual: PretrainedConfig) -> None:
    """Check that all entries of a header are read.

    `usual` is a config of the type of its model.

    Raises:
        ModelError: One is not.
    """
    architecture = _architecture(entries, usual)
    known = {*_KNOWN, *_SIZES, *ROPE, *_names(architecture, usual), _LENGTH}
    known.update(GGUF_CONFIG_MAPPING[usual.model_type.removesuffix("_text")])
    if architecture.has_windows:
        known |= {_PATTERN, _WINDOW_BASE}
    for key, value in entries.of_model.items():
        is_read = key in known or value == _USUAL.get(key)
        says_nothing = not value and key != _CAUSAL
        if not (is_read or says_nothing or key.startswith(_OTHER_TOWERS)):
            raise entries.unread(key)


def check_tensors(path: Path, model: PreTrainedModel) -> None:
    """Check that transformers reads all tensors of a GGUF file into a model.

    Raises:
        ModelError: It leaves one out.
    """
    entries = Entries(path)
    processor = TENSOR_PROCESSORS.get(entries.architecture, TensorProcessor)
    read = {*get_gguf_hf_weights_map(model, processor(config=model.config.to_dict()))}
    read |= {f"{name}.weight" for name in read if name.endswith(_EXPERTS)}
    if _architecture(entries, model.config).scales_by_length:
        read |= {*LENGTHS.values()}
    for name in entries.tensors:
        if name not in read and not name.startswith(_OTHER_TOWERS):
            raise entries.unreadable(
                say("it has the tensor {tensor}, which is not read", tensor=name[:100])
            )


def _architecture(entries: Entries, usual: PretrainedConfig) -> Gguf:
    known = family_of(usual.model_type).gguf
    named = (x for x in known if x.architecture == entries.architecture)
    return next(named, Gguf(entries.architecture))


def _names(architecture: Gguf, usual: PretrainedConfig) -> dict[str, str]:
    """Return the options of a config that entries repeat, by their keys."""
    choices: dict[str, Iterable[str]] = {
        "feed_forward_length": (family_of(usual.model_type).mlp_width,),
        **{key: (name,) for key, name in _SIZES.items()},
        **FLOATS,
        **{key: (name,) for key, name in architecture.options.items()},
    }
    held = {*usual.to_dict(), *usual.attribute_map}
    first = {
        key: next((x for x in names if x in held), None)
        for key, names in choices.items()
    }
    return {key: name for key, name in first.items() if name}


def _attention(
    entries: Entries, architecture: Gguf, usual: PretrainedConfig
) -> dict[str, Any]:
    """Return the options of windows, positions and the scale of scores."""
    options: dict[str, Any] = {}
    if architecture.has_windows:
        pattern = entries.value(_PATTERN)
        options["sliding_window"] = _window(entries, usual)
        if not options["sliding_window"]:
            options["layer_types"] = [_FULL] * entries.needed("block_count")
        elif pattern is not None:
            blocks = range(entries.needed("block_count"))
            if not isinstance(pattern, list):  # every so many blocks one has none
                pattern = [not pattern or n % pattern < pattern - 1 for n in blocks]
            options["layer_types"] = [_WINDOW if x else _FULL for x in pattern]
    if getattr(usual, "rope_parameters", None):
        options |= _rope(entries, architecture, usual)
    if hasattr(usual, "query_pre_attn_scalar"):
        options["query_pre_attn_scalar"] = architecture.score_size(
            entries.needed("block_count"),
            entries.needed("embedding_length"),
            entries.needed("attention.head_count"),
            entries.head_size,
        )
    return options


def _window(entries: Entries, usual: PretrainedConfig) -> int | None:
    """Return the length of windows; None: no block has one.

    Without the entry, llama.cpp takes the usual length in Gemma 2, and no windows in
    Gemma 3.
    """
    length: int | None = entries.value(_LENGTH)
    if length is None and entries.architecture == "gemma2":
        return int(usual.sliding_window)
    if not length and entries.architecture == "gemma3":
        return None
    return length or int(entries.needed(_LENGTH))


def _rope(
    entries: Entries, architecture: Gguf, usual: PretrainedConfig
) -> dict[str, Any]:
    """Return the options of rotated positions."""
    rope, usual_rope = entries.rope(), usual.rope_parameters
    if _PART in rope and not architecture.rotates_parts:
        raise entries.unread("rope.dimension_count")
    base = entries.value(_WINDOW_BASE)
    if _WINDOW in usual_rope:
        of_windows = usual_rope[_WINDOW] | ({"rope_theta": base} if base else {})
        return {"rope_parameters": {_FULL: rope, _WINDOW: of_windows}}
    if base and base != rope["rope_theta"]:
        raise entries.unread(_WINDOW_BASE)
    if _PART in usual_rope:
        rope.setdefault(_PART, 1.0)
    options = {"rope_parameters": rope}
    if _CONTEXT in rope and hasattr(usual, _CONTEXT):  # it is preferred to the other
        options[_CONTEXT] = rope[_CONTEXT]
    return options
