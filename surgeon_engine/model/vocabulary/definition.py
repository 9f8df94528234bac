"""The content of a fast tokenizer, and what each of its tokens stands for in a text.

Three kinds of tokenizers can be trimmed, by how a token's name tells its text:

    bytes     byte pair encoding; a character of a name is a byte, as in GPT-2
    pieces    byte pair encoding of SentencePiece; a name is a text, with ▁ for a space,
              or a byte such as <0x0A>, as in Llama 2 and Gemma
    unigram   names as in pieces; scores decide, as in T5
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from surgeon_engine.base.decoding import decode_json
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say

SPACE = "\u2581"  # replaces a space in names
# The characters that stand for bytes in names, as in GPT-2.
_CHARACTERS: dict[int, str] = bytes_to_unicode()
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}
BYTE_NAMES = tuple(f"<0x{byte:02X}>" for byte in range(256))
OTHERS = say("Remove other parts of the model instead.")


class Kind(Enum):
    """The encoding of text in the names of tokens."""

    BYTES = "bytes"
    PIECES = "pieces"
    UNIGRAM = "unigram"


@dataclass(frozen=True)
class Definition:
    """The content of a tokenizer.json."""

    content: dict[str, Any]
    kind: Kind

    @property
    def model(self) -> Mapping[str, Any]:
        """Its vocabulary, with merges or scores."""
        return self.content["model"]

    @cached_property
    def ids(self) -> dict[str, int]:
        """The ids of all tokens by name, added tokens included."""
        vocabulary = self.model["vocab"]
        if self.kind is Kind.UNIGRAM:
            vocabulary = {name: i for i, (name, _) in enumerate(vocabulary)}
        return vocabulary | {x["content"]: x["id"] for x in self.added}

    @cached_property
    def names(self) -> tuple[str | None, ...]:
        """The names of the tokens by id; None where an id has no token."""
        size = max(self.ids.values(), default=-1) + 1
        names: list[str | None] = [None] * size
        for name, i in self.ids.items():
            names[i] = name
        return tuple(names)

    def is_in_model(self, name: str) -> bool:
        """Return whether a name is in the vocabulary without added tokens."""
        if self.kind is Kind.UNIGRAM:
            return self.ids.get(name, len(self.model["vocab"])) < len(
                self.model["vocab"]
            )
        return name in self.model["vocab"]

    @property
    def added(self) -> list[Mapping[str, Any]]:
        """The added tokens, which are found in a text before it is split."""
        return self.content["added_tokens"]

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """The pairs of names that are merged, in order; none in Unigram."""
        merges = self.model.get("merges", ())
        return [tuple(x.split(" ", 1) if isinstance(x, str) else x) for x in merges]

    @cached_property
    def has_all_bytes(self) -> bool:
        """Whether bytes replace a character that is no token."""
        if self.kind is Kind.BYTES:
            return all(x in self.ids for x in _CHARACTERS.values())
        falls_back = bool(self.model.get("byte_fallback"))
        return falls_back and all(name in self.ids for name in BYTE_NAMES)

    @cached_property
    def pieces(self) -> tuple[bytes | None, ...]:
        """The bytes that each token stands for; None for special and unused ids.

        An added token that is not special stands for its text.
        """
        pieces = [None if name is None else self._piece(name) for name in self.names]
        if self.unknown is not None:
            pieces[self.unknown] = None
        for token in self.added:
            name, i = token["content"], token["id"]
            if token["special"]:
                pieces[i] = None
            elif self.kind is Kind.BYTES or not self.is_in_model(name):
                pieces[i] = name.encode() or None
        return tuple(pieces)

    @property
    def unknown(self) -> int | None:
        """The token of unknown characters, if there is one."""
        if self.kind is Kind.UNIGRAM:
            return self.model.get("unk_id")
        return self.ids.get(self.model.get("unk_token") or "")

    def _piece(self, name: str) -> bytes | None:
        if self.kind is Kind.BYTES:
            known = all(character in _BYTES for character in name)
            return bytes(map(_BYTES.__getitem__, name)) or None if known else None
        if self.has_all_bytes and len(name) == 6 and name in BYTE_NAMES:
            return bytes([int(name[3:5], 16)])
        return name.replace(SPACE, " ").encode(errors="replace") or None

    def name_of_byte(self, byte: int) -> str:
        """Return the name of the token that stands for a byte, if there is one."""
        if self.kind is Kind.BYTES:
            return _CHARACTERS[byte]
        return BYTE_NAMES[byte]


def definition_of(tokenizer: PreTrainedTokenizerBase | None) -> Definition:
    """Return the content of a tokenizer whose vocabulary can be reduced.

    Raises:
        ConfigError: It is of another kind.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise unsupported(say("there is no tokenizer"))
    if backend is None or not hasattr(backend, "to_str"):
        raise unsupported(say("its tokenizer has no tokenizer.json"))
    content = decode_json(backend.to_str().encode(), dict[str, Any])
    return Definition(content, _kind(content))


def steps(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield the steps of a normalizer, pre-tokenizer or post-processor, unnested."""
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part
        return
    for name in ("normalizers", "pretokenizers", "processors"):
        for inner in part.get(name, ()):
            yield from steps(inner)


def _kind(content: Mapping[str, Any]) -> Kind:
    model = content["model"]
    before = [*steps(content["normalizer"]), *steps(content["pre_tokenizer"])]
    has_spaces = any(
        step["type"] == "Metaspace" or step.get("content") == SPACE for step in before
    )
    if model["type"] == "Unigram" and has_spaces:
        return Kind.UNIGRAM
    if model["type"] == "BPE":
        affixes = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
        if any(model.get(name) for name in affixes):
            raise unsupported(
                say("its tokenizer has dropout, or prefixes or suffixes of tokens")
            )
        if any(step["type"] == "ByteLevel" for step in steps(content["pre_tokenizer"])):
            return Kind.BYTES
        if has_spaces:
            return Kind.PIECES
    raise unsupported(
        say(
            "its tokenizer ({kind}) is no byte pair encoding of bytes or pieces, and "
            "no Unigram of pieces",
            kind=model["type"],
        )
    )


def unsupported(reason: str) -> ConfigError:
    """Return the error for a model that must keep all its tokens."""
    return ConfigError(
        "No tokens can be removed from this model: {reason}.", OTHERS, reason=reason
    )
