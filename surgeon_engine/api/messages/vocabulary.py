"""The effects of fewer tokens in the vocabulary, before a run."""

from __future__ import annotations

import msgspec


class ScriptLoss(msgspec.Struct, frozen=True):
    """The tokens that a script loses."""

    script: str  # "Common": punctuation, digits and others
    tokens: int  # before
    removed: int
    examples: tuple[str, ...]  # removed ones, from the smallest id


class Rewritten(msgspec.Struct, frozen=True):
    """A text in the kept tokens."""

    text: str  # name
    tokens: int  # number of tokens that were read
    share: float  # share of the tokens that are split into others
    longer: float  # growth of the number of tokens, as a share


class HitScript(msgspec.Struct, frozen=True):
    """A script in the user's texts that loses many of its tokens."""

    script: str
    of_text: float  # share of the tokens of the texts
    share: float  # share of its tokens in the texts that are split into others


class VocabularyPreviewed(msgspec.Struct, frozen=True, tag=True):
    """Response to `PreviewVocabulary`.

    Instead of the predictions of the model, it takes the ranks of tokens: a run removes
    other tokens, though about as useful ones.
    """

    tokens: int  # tokens of the original
    kept: int
    least: int  # tokens that must be kept
    parameters: int  # removed parameters
    share: float  # removed share of all parameters
    file_bytes: int  # bytes removed from a file like the original's
    scripts: tuple[ScriptLoss, ...]  # the largest losses first
    texts: tuple[Rewritten, ...]  # the calibration texts, then the built-in text
    hit: tuple[HitScript, ...] = ()
    is_typical: bool = False  # the run chooses the number, and this is a typical one
