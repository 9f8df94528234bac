"""The layers that a job protects, as patterns and as choices of layers.

A pattern is the name of a layer, a kind such as `mlp.down_proj`, or a block such as
`block 0`; * matches anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from surgeon_engine.api.config.layer_patterns import NamedLayer, any_matches

Layers = Sequence[NamedLayer]


def block_pattern(block: int) -> str:
    """Return the pattern of all layers of a block."""
    return f"block {block}"


def protected_layers(patterns: Iterable[str], layers: Layers) -> frozenset[str]:
    """Return the names of the layers that match any of the patterns."""
    patterns = tuple(patterns)
    return frozenset(layer.name for layer in layers if any_matches((layer,), patterns))


def with_protection(
    patterns: tuple[str, ...], pattern: str, layers: Layers, *, is_protected: bool
) -> tuple[str, ...]:
    """Return the patterns after the layers of `pattern` are protected or released.

    The protection of all other layers is unchanged.
    """
    chosen = protected_layers([pattern], layers)
    before = protected_layers(patterns, layers)
    if is_protected:
        wider = [p for p in patterns if not protected_layers([p], layers) <= chosen]
        return patterns if chosen <= before else (*wider, pattern)
    after = before - chosen
    kept = [p for p in patterns if protected_layers([p], layers) <= after]
    return (*kept, *_patterns_for(after - protected_layers(kept, layers), layers))


def _patterns_for(names: frozenset[str], layers: Layers) -> tuple[str, ...]:
    """Return patterns that match exactly these layers, whole kinds and blocks first."""
    found: list[str] = []
    remaining = set(names)
    kinds = dict.fromkeys(layer.kind for layer in layers)
    blocks = dict.fromkeys(block_pattern(layer.block) for layer in layers)
    for pattern in (*kinds, *blocks):
        matched = protected_layers([pattern], layers)
        if matched <= names and matched & remaining:
            found.append(pattern)
            remaining -= matched
    return (*found, *(layer.name for layer in layers if layer.name in remaining))
