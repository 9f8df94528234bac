"""Patterns that select layers, to protect them or to limit what they lose.

A pattern is the name of a layer, its kind or its block, such as
"model.layers.0.mlp.down_proj", "mlp.down_proj" or "block 0"; * matches anything. A
limit is a pattern with the share of its weights that each matching layer keeps, such as
"block 3=0.5".
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from surgeon_engine.base.errors import ConfigError, PruningError


class NamedLayer(Protocol):
    """A layer that a pattern can match."""

    @property
    def name(self) -> str:
        """The full name in the model."""

    @property
    def kind(self) -> str:
        """The name inside the block."""

    @property
    def block(self) -> int:
        """The index of the block."""


def matches(layer: NamedLayer, pattern: str) -> bool:
    """Return True if `pattern` matches the layer's name, kind or block."""
    names = (layer.name, layer.kind, f"block {layer.block}")
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def any_matches(layers: Iterable[NamedLayer], patterns: Iterable[str]) -> bool:
    """Return True if one of `patterns` matches one of `layers`."""
    patterns = tuple(patterns)
    return any(matches(layer, pattern) for layer in layers for pattern in patterns)


@dataclass(frozen=True, slots=True)
class LayerMinDensity:
    """The share of its weights that each layer matching a pattern keeps."""

    pattern: str
    share: float

    def __str__(self) -> str:
        return f"{self.pattern}={self.share:g}"


def parse_limit(text: str) -> LayerMinDensity:
    """Parse a minimum density such as "block 3=0.5".

    Raises:
        ConfigError: The text is not a minimum density.
    """
    pattern, separator, number = (part.strip() for part in text.rpartition("="))
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not (pattern and separator and 0 <= share <= 1):
        raise ConfigError(
            "{text:shown} is not the minimum density of a layer.",
            "Give a name, a kind or a block, and its minimum density from 0 to 1, "
            "such as block 3=0.5.",
            text=text,
        )
    return LayerMinDensity(pattern, share)


def check_patterns(
    protect: Iterable[str], limits: Iterable[str], layers: Sequence[NamedLayer]
) -> None:
    """Check that each pattern matches a layer: a misspelled one would do nothing.

    `limits` are minimum densities.

    Raises:
        PruningError: a pattern matches no layer.
    """
    limited = [parse_limit(limit).pattern for limit in limits]
    for pattern in (*protect, *limited):
        if not any_matches(layers, (pattern,)):
            raise PruningError(
                "{pattern:shown} sets a minimum density for no layer of this model."
                if pattern in limited
                else "{pattern:shown} protects no layer of this model.",
                "Give a name such as {name}, a kind such as {kind}, or a block such "
                "as block 0; * stands for anything.",
                pattern=pattern,
                name=layers[0].name,
                kind=layers[0].kind,
            )
