"""The vocabulary of a pruned model: all tokens of the original, or some of them.

In TOML:

    [pruning]
    vocabulary = "tokens"
    vocabulary_tokens = 32768
    kept_texts = ["German", "words.txt"]
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from surgeon_engine.api.config.fields import Limits, Member, Option

# Tokens that are never removed: names of languages or scripts, or text files whose
# words keep their tokens.
_Keep: TypeAlias = Annotated[tuple[str, ...], Option(advanced=True, name="kept_texts")]


class Vocabulary(StrEnum):
    """The ways to choose the tokens that a model keeps."""

    WHOLE = "whole"
    AUTOMATIC = "automatic"
    TOKENS = "tokens"


class WholeVocabulary(Member, frozen=True, tag="whole"):
    """Keep all tokens."""


WHOLE = WholeVocabulary()


class AutomaticVocabulary(Member, frozen=True, tag="automatic"):
    """Remove tokens while that costs less, per parameter, than heads and neurons."""

    keep: _Keep = ()


class SomeTokens(Member, frozen=True, tag="tokens"):
    """Keep a number of tokens."""

    tokens: Annotated[
        int, Option(Limits(256, 10_000_000), name="vocabulary_tokens")
    ] = 32_768
    keep: _Keep = ()


# In this order, forms show a number of tokens above what is kept.
AnyVocabulary: TypeAlias = WholeVocabulary | SomeTokens | AutomaticVocabulary
