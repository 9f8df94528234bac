"""Configs as they stand in JSON, which has no numbers that are not finite.

transformers writes {"__float__": "Infinity"} for one, and reads that only from files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def decoded(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config that transformers has written, to build another from."""
    return {name: _decoded(value) for name, value in config.items()}


def _decoded(value: Any) -> Any:
    match value:
        case {"__float__": str(number), **others} if not others:
            return float(number)
        case dict():
            return decoded(value)
        case list():
            return [_decoded(each) for each in value]
    return value
