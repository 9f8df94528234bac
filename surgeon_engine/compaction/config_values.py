"""Decode numbers of configs that JSON cannot express.

transformers writes infinity as {"__float__": "Infinity"}, and decodes that only when it
reads a config from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
