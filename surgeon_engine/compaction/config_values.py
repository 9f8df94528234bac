"""Read and change the values of configs as JSON.

transformers writes infinity as {"__float__": "Infinity"}, and decodes that only when it
reads a config from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig


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


def decode_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config written by transformers with all its numbers decoded."""
    return {name: _decode(value) for name, value in config.items()}


def _decode(value: Any) -> Any:
    match value:
        case {"__float__": str(number), **others} if not others:
            return float(number)
        case dict():
            return decode_config(value)
        case list():
            return [_decode(each) for each in value]
    return value
