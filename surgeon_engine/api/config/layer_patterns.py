"""Layers by the patterns that a user gives: what is protected, and what keeps how much.

A pattern is the name of a layer, its kind or its block, such as
"model.layers.0.mlp.down_proj", "mlp.down_proj" or "block 0"; * stands for anything. A
limit is a pattern with the share of its weights that every layer it means has to keep,
such as "block 3=0.5". Imports neither torch nor Qt.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from surgeon_engine.api.errors import ConfigError


class NamedLayer(Protocol):
    """What a pattern looks at."""

    @property
    def name(self) -> str:
        """Its full name in the model."""

    @property
    def kind(self) -> str:
        """Its name inside its block."""

    @property
    def block(self) -> int:
        """The index of its block."""


def matches(layer: NamedLayer, pattern: str) -> bool:
    """Whether `pattern` is the layer's name, kind or block, or matches one of them."""
    names = (layer.name, layer.kind, f"block {layer.block}")
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def any_matches(layers: Iterable[NamedLayer], patterns: Iterable[str]) -> bool:
    """Whether one of `patterns` means one of `layers`."""
    patterns = tuple(patterns)
    return any(matches(layer, pattern) for layer in layers for pattern in patterns)


@dataclass(frozen=True, slots=True)
class LayerLimit:
    """A share of its weights that each layer keeps which a pattern means."""

    pattern: str
    share: float

    def __str__(self) -> str:
        return f"{self.pattern}={self.share:g}"


def parse_limit(words: str) -> LayerLimit:
    """The limit that `words` such as "block 3=0.5" describe.

    Raises:
        ConfigError: they describe none.
    """
    pattern, separator, number = (part.strip() for part in words.rpartition("="))
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not (pattern and separator and 0 <= share <= 1):
        raise ConfigError(
            f"{words!r} is no limit of a layer.",
            "Give a name, a kind or a block and the share that it keeps, from 0 to 1, "
            "such as block 3=0.5.",
        )
    return LayerLimit(pattern, share)


def min_kept_share(
    min_density: float, layer_min_density: Iterable[str], layers: Iterable[NamedLayer]
) -> float:
    """The share that has to stay of what goes with any of `layers`: the largest."""
    layers = tuple(layers)
    shares = [
        limit.share
        for limit in map(parse_limit, layer_min_density)
        if any_matches(layers, (limit.pattern,))
    ]
    return max((min_density, *shares))
