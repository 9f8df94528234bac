"""Which layers nothing is removed from: patterns as a job holds them, and choices.

A pattern is the name of a layer, a kind such as `mlp.down_proj`, or a block such as
`block 0`; * stands for anything. Pure functions; knows nothing of Qt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from surgeon_engine.api.config.layer_patterns import NamedLayer, any_matches

Layers = Sequence[NamedLayer]


def block_pattern(block: int) -> str:
    """What stands for a whole block."""
    return f"block {block}"


def protected(patterns: Iterable[str], layers: Layers) -> frozenset[str]:
    """The names of the layers that are covered by some pattern."""
    patterns = tuple(patterns)
    return frozenset(layer.name for layer in layers if any_matches((layer,), patterns))


def with_choice(
    patterns: tuple[str, ...], choice: str, layers: Layers, *, is_protected: bool
) -> tuple[str, ...]:
    """The patterns once what `choice` stands for is protected, or no longer is.

    `choice` is a pattern itself. What was protected besides it stays so.
    """
    chosen = protected([choice], layers)
    before = protected(patterns, layers)
    if is_protected:
        wider = [p for p in patterns if not protected([p], layers) <= chosen]
        return patterns if chosen <= before else (*wider, choice)
    after = before - chosen
    kept = [p for p in patterns if protected([p], layers) <= after]
    return (*kept, *_patterns_for(after - protected(kept, layers), layers))


def _patterns_for(names: frozenset[str], layers: Layers) -> tuple[str, ...]:
    """Patterns that cover exactly these layers: whole kinds and blocks first."""
    found: list[str] = []
    left = set(names)
    kinds = dict.fromkeys(layer.kind for layer in layers)
    blocks = dict.fromkeys(block_pattern(layer.block) for layer in layers)
    for pattern in (*kinds, *blocks):
        covered = protected([pattern], layers)
        if covered <= names and covered & left:
            found.append(pattern)
            left -= covered
    return (*found, *(layer.name for layer in layers if layer.name in left))
