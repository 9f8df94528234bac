"""Read and change the values of configs as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, PretrainedConfig

_LENGTH = "original_max_position_embeddings"
# Names in transformers 4 that differ from the names in `rope_parameters`.
_NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
_OWN_NAMES = {"gpt_neox": _NEOX, "gpt_neox_japanese": _NEOX}
# The models of transformers 4 whose blocks with a sliding window have settings of their
# own, and the name of their theta.
_WINDOW_THETA = {
    "gemma3_text": "rope_local_base_freq",
    "gemma3n_text": "rope_local_base_freq",
    "olmo3": "rope_theta",
}


def config_of(values: Mapping[str, Any]) -> PretrainedConfig:
    """Return the config with these values.

    transformers writes infinity as {"__float__": "Infinity"}, and decodes that only
    when it reads a config from a file.
    """
    return AutoConfig.for_model(**PretrainedConfig._decode_special_floats({**values}))


def text_options(values: dict[str, Any], config: PretrainedConfig) -> dict[str, Any]:
    """Return the part of a config's values that describes the language model.

    It is the whole, unless the model reads images or sound, too.
    """
    text = config.get_text_config()
    if text is config:
        return values
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if isinstance(part, PretrainedConfig) and part.get_text_config() is text:
            return text_options(values[name], part)
    return values


def flat_rope(text: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `rope_parameters` of a language model as transformers 4 names them.

    Programs that do not know `rope_parameters` would silently use defaults. The others
    read the same values from both.
    """
    kind, full = text.get("model_type", ""), text.get("rope_parameters") or {}
    found = {new: full.get(old) for old, new in _OWN_NAMES.get(kind, {}).items()}
    if kind in _WINDOW_THETA:
        windows, full = full["sliding_attention"], full["full_attention"]
        found[_WINDOW_THETA[kind]] = windows["rope_theta"]
    if "rope_theta" not in full:
        return {}
    names = ("rope_theta", "partial_rotary_factor")
    found |= {name: full[name] for name in names if name in full}
    scaling = {name: value for name, value in full.items() if name not in names}
    # Some models allow no other entries than the ones in their files.
    if "type" in scaling:
        del scaling["rope_type"]
    if _LENGTH in text:
        scaling.pop(_LENGTH, None)
    is_plain = not scaling.keys() - {"rope_type", "type"}
    return found if is_plain else found | {"rope_scaling": scaling}
