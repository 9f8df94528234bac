"""Write a fast tokenizer of transformers into the header of a GGUF file.

llama.cpp does not read tokenizer.json; it knows some pre-tokenizers by name. This
module finds the name for a tokenizer.json. Three kinds of tokenizer are supported:

    bytes   tokens are made of bytes ("gpt2" in GGUF), as in Llama 3, Qwen 2, SmolLM
    pieces  tokens are made of characters, with bytes for the characters that are not in
            the vocabulary ("llama" in GGUF), as in Llama 2, Mistral and Gemma
    lines   the same, but only the listed merges are made, and none with a newline
            ("gemma4" in GGUF)

The tokenizer of a model that was loaded from a GGUF file is copied from that file, or
from the header that a checkpoint keeps of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import PreTrainedTokenizerBase

from surgeon_engine.base.sentences import say
from surgeon_engine.export.transformers.tokenizer_files import header_entries
from surgeon_engine.model.gguf_tokenizer import (
    DIGITS,
    GPT_2,
    NUMBERS,
    PUNCTUATION,
    SPLITS,
    Splits,
)
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.vocabulary.definition import (
    BYTE_NAMES,
    SPACE,
    Definition,
    Kind,
    steps,
)

# llama.cpp's name of a pre-tokenizer, by its steps.
_NAMES = {splits: name for name, splits in SPLITS.items()}


@dataclass(frozen=True, slots=True)
class _Tokenizer:
    """The content of a tokenizer.json and its names in GGUF."""

    model: str
    pre: str
    definition: Definition
    prefixes_space: bool
    adds_special: tuple[bool, bool]  # adds the BOS token, adds the EOS token


def tokenizer_unsupported_reason(loaded: LoadedModel) -> str:
    """Return why llama.cpp does not support the tokenizer; empty if it does."""
    if header_entries(loaded) is not None:
        return ""
    if loaded.tokenizer is None:
        return say("A GGUF file needs a tokenizer, and this model has none.")
    converted = _convert(loaded.tokenizer)
    return converted if isinstance(converted, str) else ""


def add_tokenizer(writer: GGUFWriter, loaded: LoadedModel, vocabulary: int) -> None:
    """Add the tokenizer to the header that `writer` will write.

    `vocabulary` is the number of the model's embeddings.

    Raises:
        ValueError: llama.cpp does not support the tokenizer.
    """
    entries = header_entries(loaded)
    if entries is not None:
        for entry in entries:
            writer.add_key_value(*entry)
        return
    tokenizer = loaded.tokenizer
    converted = _convert(tokenizer) if tokenizer else say("There is no tokenizer.")
    if isinstance(converted, str) or tokenizer is None:
        raise ValueError(converted)
    tokens, types = _tokens(converted, vocabulary)
    writer.add_tokenizer_model(converted.model)
    writer.add_tokenizer_pre(converted.pre)
    writer.add_token_list(tokens)
    if converted.model == "llama":  # scores decide which pieces are merged
        scores = _scores(converted.definition)
        writer.add_token_scores([scores.get(token, 0.0) for token in tokens])
        writer.add_add_space_prefix(converted.prefixes_space)
    else:
        merges = converted.definition.merges
        writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_token_types(types)
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None and number < vocabulary:
            add(number)
    writer.add_add_bos_token(converted.adds_special[0])
    writer.add_add_eos_token(converted.adds_special[1])
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if template:
        writer.add_chat_template(template)


def _convert(tokenizer: PreTrainedTokenizerBase) -> _Tokenizer | str:
    """Convert a tokenizer for llama.cpp, or return why that is not possible.

    Both supported kinds are byte pair encodings; they differ in `byte_fallback`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return say(
            "This tokenizer has no tokenizer.json, which is needed to convert it."
        )
    content = json.loads(backend.to_str())
    model = content["model"]
    if model["type"] != "BPE":
        return say(
            "Only byte pair encodings can be converted; this is {model}.",
            model=model["type"],
        )
    affixes = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    if any(model.get(name) for name in affixes):
        return say(
            "llama.cpp does not support dropout, prefixes or suffixes of tokens."
        )
    adds_special = _special_tokens(tokenizer)
    if adds_special is None:
        return say(
            "This tokenizer adds special tokens other than BOS and EOS, which "
            "llama.cpp does not support."
        )
    if model.get("byte_fallback"):
        return _convert_pieces(Definition(content, Kind.PIECES), adds_special)
    return _convert_bytes(Definition(content, Kind.BYTES), adds_special)


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[bool, bool] | None:
    """Return whether BOS and EOS are added to a text; None if others are added."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    ids = tokenizer("a")["input_ids"]
    bos, eos = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
    for begins, ends in ((False, False), (True, False), (False, True), (True, True)):
        if ids == bos * begins + bare + eos * ends:
            return begins, ends
    return None


def _convert_bytes(
    definition: Definition, adds_special: tuple[bool, bool]
) -> _Tokenizer | str:
    # llama.cpp does not apply NFC. Published GGUF files of such models ignore it too.
    content = definition.content
    normalizers = [step["type"] for step in steps(content["normalizer"])]
    if normalizers not in ([], ["NFC"]):
        return say(
            "llama.cpp does not support the normalizer {name}.", name=normalizers[0]
        )
    before = [*steps(content["pre_tokenizer"])]
    splits = tuple(map(_split_name, before))
    ignores_merges = bool(definition.model.get("ignore_merges"))
    pre = _NAMES.get(Splits(tuple(filter(None, splits)), ignores_merges))
    if pre is None or not any(step["type"] == "ByteLevel" for step in before):
        return say(
            "llama.cpp does not support this pre-tokenizer ({splits}).",
            splits=", ".join(split or "bytes" for split in splits) or "none",
        )
    return _Tokenizer("gpt2", pre, definition, False, adds_special)


def _split_name(step: Mapping[str, Any]) -> str:
    """Return a name for how a step splits texts; empty if it does not."""
    match step:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": uses}:
            return GPT_2 if uses else ""
        case {"type": "Digits", "individual_digits": is_single}:
            return DIGITS if is_single else NUMBERS
        case {"type": "Punctuation", "behavior": "Contiguous"}:
            return PUNCTUATION
        case {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated" | "Removed" as behavior,
            "invert": inverted,
        } if (behavior == "Removed") == inverted:
            return str(pattern)
        case {"type": kind}:
            return f"{kind} with other settings"
    return "an unknown step"


def _convert_pieces(
    definition: Definition, adds_special: tuple[bool, bool]
) -> _Tokenizer | str:
    prefixes = _prefixes_space(definition)
    if prefixes is None:
        return say(
            "llama.cpp splits words into pieces as SentencePiece does; this "
            "tokenizer does not."
        )
    vocabulary = definition.model["vocab"]
    if not all(byte in vocabulary for byte in BYTE_NAMES):
        return say("The vocabulary lacks some of the 256 bytes, which llama.cpp needs.")
    if _has_all_merges(definition):
        return _Tokenizer("llama", "default", definition, prefixes, adds_special)
    # A newline is merged with newlines alone.
    merged = (left + right for left, right in definition.merges)
    merges_lines = any("\n" in token and token.strip("\n") for token in merged)
    if prefixes or adds_special != (True, False) or merges_lines:
        return say(
            "llama.cpp merges all pieces whose union is in the vocabulary; this "
            "tokenizer does not."
        )
    return _Tokenizer("gemma4", "gemma4", definition, prefixes, adds_special)


def _prefixes_space(definition: Definition) -> bool | None:
    """Return whether a space is prepended to a text; None for any other change."""
    content = definition.content
    before = [*steps(content["normalizer"]), *steps(content["pre_tokenizer"])]
    match before:
        case [{"type": "Metaspace", "replacement": "\u2581", "split": False, **how}]:
            return how.get("prepend_scheme") != "never"
        case [{"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]:
            return False
        case [
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            {"type": "Split", "pattern": {"String": " "}},  # there are none left
        ]:
            return False
        case [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        ]:
            return True
    return None


def _has_all_merges(definition: Definition) -> bool:
    """Return whether all pairs that form a token are merged, grouped by token."""
    vocabulary = definition.model["vocab"]
    known = set(definition.merges)
    special = {token["content"] for token in definition.added}
    merged = [left + right for left, right in definition.merges]
    groups = 1 + sum(token != following for token, following in pairwise(merged))
    return groups == len(set(merged)) and all(
        pair in known
        for token in vocabulary
        if token not in special
        for pair in ((token[:i], token[i:]) for i in range(1, len(token)))
        if pair[0] in vocabulary and pair[1] in vocabulary
    )


def _scores(definition: Definition) -> dict[str, float]:
    """Return the score of each merged token: the earlier the merge, the higher."""
    scores: dict[str, float] = {}
    for left, right in definition.merges:
        scores.setdefault(left + right, -float(len(scores)))
    return scores


def _tokens(tokenizer: _Tokenizer, count: int) -> tuple[list[str], list[int]]:
    """Return the first `count` tokens and their types; missing tokens are unused."""
    definition = tokenizer.definition
    has_pieces = definition.kind is Kind.PIECES
    tokens = [f"[PAD{i}]" for i in range(count)]
    types = [int(TokenType.UNUSED)] * count
    for token, i in definition.model["vocab"].items():
        if i < count:
            tokens[i], types[i] = token, int(TokenType.NORMAL)
            if has_pieces and token in BYTE_NAMES:
                types[i] = int(TokenType.BYTE)
    for added in definition.added:
        i = added["id"]
        if i < count:
            is_special = added["special"]
            text = added["content"]
            tokens[i] = text if is_special else text.replace(SPACE, " ")
            types[i] = int(TokenType.CONTROL if is_special else TokenType.USER_DEFINED)
            if has_pieces and text == definition.model.get("unk_token"):
                types[i] = int(TokenType.UNKNOWN)
    return tokens, types
