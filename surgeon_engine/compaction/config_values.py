"""Read and change the values of configs as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from surgeon_engine.model.families import family_of

_LENGTH = "original_max_position_embeddings"


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
    family = family_of(text.get("model_type", ""))
    full = text.get("rope_parameters") or {}
    found = {new: full.get(old) for old, new in family.rope_names.items()}
    if family.window_theta:
        windows, full = full["sliding_attention"], full["full_attention"]
        found[family.window_theta] = windows["rope_theta"]
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
