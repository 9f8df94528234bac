"""A fast tokenizer of transformers in the words of a GGUF file.

llama.cpp has no tokenizer.json: it knows some ways of cutting texts by name, and these
are told apart here by what tokenizer.json says that it does. Two kinds can be written:

    bytes   tokens are made of bytes ("gpt2" in GGUF), as in Llama 3, Qwen 2, SmolLM
    pieces  tokens are made of characters, with bytes for the characters that are not in
            the vocabulary ("llama" in GGUF), as in Llama 2 and Mistral

A model that was itself read from a GGUF file gets the tokenizer of that file, word for
word: transformers forgets how it cuts texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFValueType, GGUFWriter, TokenType
from transformers import PreTrainedTokenizerBase

from surgeon_engine.model.load import LoadedModel

_SPACE = "\u2581"  # stands for a space in pieces
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
# As they stand in the tokenizer.json of Llama 3, Qwen 2 and Mistral NeMo.
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# How a text is cut, and whether words of the vocabulary are taken whole; by the name
# that llama.cpp has for it.
_GPT_2, _DIGITS = "GPT-2", "digits"
_CUTS: dict[tuple[tuple[str, ...], bool], str] = {
    ((_GPT_2,), False): "gpt-2",
    ((_DIGITS, _GPT_2), False): "smollm",
    ((_LLAMA_3,), True): "llama-bpe",
    ((_LLAMA_3,), False): "dbrx",
    ((_QWEN_2,), False): "qwen2",
    ((_TEKKEN,), True): "tekken",
}


@dataclass(frozen=True, slots=True)
class _Tokenizer:
    """What tokenizer.json says, and what GGUF calls it."""

    model: str
    pre: str
    definition: Mapping[str, Any]
    prefixes_space: bool
    wraps: tuple[bool, bool]  # whether a first and a last token are added


def tokenizer_unsupported_reason(loaded: LoadedModel) -> str:
    """Why llama.cpp cannot cut texts as this model's tokenizer does; empty: it can."""
    if _comes_from_gguf(loaded):
        return ""
    if loaded.tokenizer is None:
        return "A GGUF file needs a tokenizer, and this model has none."
    found = _recognise(loaded.tokenizer)
    return found if isinstance(found, str) else ""


def add_tokenizer(writer: GGUFWriter, loaded: LoadedModel, vocabulary: int) -> None:
    """Describe the tokenizer in the header that `writer` will write.

    There will be `vocabulary` tokens: as many as the model has embeddings.

    Raises:
        ValueError: see `tokenizer_unsupported_reason`.
    """
    if _comes_from_gguf(loaded):
        _copy(writer, loaded)
        return
    tokenizer = loaded.tokenizer
    found = _recognise(tokenizer) if tokenizer else "There is no tokenizer."
    if isinstance(found, str) or tokenizer is None:
        raise ValueError(found)
    tokens, types = _tokens(found, vocabulary)
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(tokens)
    if found.model == "llama":
        scores = _scores(found.definition)
        writer.add_token_scores([scores.get(token, 0.0) for token in tokens])
        writer.add_add_space_prefix(found.prefixes_space)
    else:
        writer.add_token_merges([" ".join(pair) for pair in _merges(found.definition)])
    writer.add_token_types(types)
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None and number < vocabulary:
            add(number)
    writer.add_add_bos_token(found.wraps[0])
    writer.add_add_eos_token(found.wraps[1])
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if template:
        writer.add_chat_template(template)


def _comes_from_gguf(loaded: LoadedModel) -> bool:
    source = loaded.source
    return source.gguf_file is not None and source.weight_files[0].is_file()


def _copy(writer: GGUFWriter, loaded: LoadedModel) -> None:
    for entry in _entries(loaded.source.weight_files[0]):
        writer.add_key_value(*entry)


@lru_cache(maxsize=1)  # reading hundreds of thousands of merges takes seconds
def _entries(path: Path) -> list[tuple[str, Any, GGUFValueType, GGUFValueType | None]]:
    """All that a GGUF file says of its tokenizer: name, value and its types."""
    entries = []
    for name, field in GGUFReader(path).fields.items():
        if name.startswith("tokenizer."):
            kind, *rest = field.types
            inner = rest[0] if kind == GGUFValueType.ARRAY else None
            entries.append((name, field.contents(), kind, inner))
    return entries


def _recognise(tokenizer: PreTrainedTokenizerBase) -> _Tokenizer | str:
    """What llama.cpp calls this tokenizer, or a sentence that says why it has no name.

    Both kinds are byte pair encodings; what they differ in is told by the fallback.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return "This tokenizer has no tokenizer.json, from which it could be written."
    definition = json.loads(backend.to_str())
    model = definition["model"]
    if model["type"] != "BPE":
        return (
            f"A GGUF file holds tokenizers of byte pairs; this one is {model['type']}."
        )
    affixes = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    if any(model.get(name) for name in affixes):
        return "llama.cpp has no tokens with marks for parts of words."
    wraps = _wraps(tokenizer)
    if wraps is None:
        return (
            "llama.cpp adds a first and a last token to a text; this tokenizer adds "
            "others."
        )
    if model.get("byte_fallback"):
        return _pieces(definition, wraps)
    return _bytes(definition, wraps)


def _wraps(tokenizer: PreTrainedTokenizerBase) -> tuple[bool, bool] | None:
    """Whether the tokens of the begin and of the end are added; None: others are."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    ids = tokenizer("a")["input_ids"]
    bos, eos = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
    for begins, ends in ((False, False), (True, False), (False, True), (True, True)):
        if ids == bos * begins + bare + eos * ends:
            return begins, ends
    return None


def _bytes(definition: Mapping[str, Any], wraps: tuple[bool, bool]) -> _Tokenizer | str:
    # llama.cpp does not compose accents, and neither do the files that others write
    # of models that want it.
    beside = [step["type"] for step in _steps(definition["normalizer"])]
    if beside not in ([], ["NFC"]):
        return f"llama.cpp does not change texts like this tokenizer: {beside[0]}."
    cuts = tuple(map(_cut, _steps(definition["pre_tokenizer"])))
    whole = bool(definition["model"].get("ignore_merges"))
    pre = _CUTS.get((tuple(filter(None, cuts)), whole))
    if pre is None or not _is_byte_level(definition):
        return (
            "llama.cpp has no name for the way in which this tokenizer cuts texts "
            f"({', '.join(cut or 'bytes' for cut in cuts) or 'not at all'})."
        )
    return _Tokenizer("gpt2", pre, definition, False, wraps)


def _steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The parts of a normalizer or pre-tokenizer, one after the other."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    inner = part.get("normalizers", part.get("pretokenizers", ()))
    return [step for each in inner for step in _steps(each)]


def _cut(step: Mapping[str, Any]) -> str:
    """How one step cuts; empty: it does not."""
    match step:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": uses}:
            return _GPT_2 if uses else ""
        case {"type": "Digits", "individual_digits": True}:
            return _DIGITS
        case {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated" | "Removed" as behavior,
            "invert": inverted,
        } if (behavior == "Removed") == inverted:
            return str(pattern)
        case {"type": kind}:
            return f"{kind} as it is set here"
    return "an unknown step"


def _is_byte_level(definition: Mapping[str, Any]) -> bool:
    steps = _steps(definition["pre_tokenizer"])
    return bool(steps) and steps[-1]["type"] == "ByteLevel"


def _pieces(
    definition: Mapping[str, Any], wraps: tuple[bool, bool]
) -> _Tokenizer | str:
    prefixes = _prefixes_space(definition)
    if prefixes is None:
        return (
            "llama.cpp cuts pieces of words in one way only, as SentencePiece does; "
            "this tokenizer does so in another."
        )
    vocabulary = definition["model"]["vocab"]
    if not all(byte in vocabulary for byte in _BYTES):
        return "The vocabulary lacks some of the 256 bytes, which llama.cpp falls to."
    if not _has_all_merges(definition):
        return (
            "llama.cpp joins pieces wherever the vocabulary has what they give; this "
            "tokenizer does not."
        )
    return _Tokenizer("llama", "default", definition, prefixes, wraps)


def _prefixes_space(definition: Mapping[str, Any]) -> bool | None:
    """Whether a space is put before a text; None: something else is done to it."""
    before = [*_steps(definition["normalizer"]), *_steps(definition["pre_tokenizer"])]
    match before:
        case [{"type": "Metaspace", "replacement": "\u2581", "split": False, **how}]:
            return how.get("prepend_scheme") != "never"
        case [{"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]:
            return False
        case [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        ]:
            return True
    return None


def _has_all_merges(definition: Mapping[str, Any]) -> bool:
    """Whether all pairs of tokens that make a token are merged, token by token."""
    vocabulary = definition["model"]["vocab"]
    merges = _merges(definition)
    known = set(merges)
    special = {token["content"] for token in definition["added_tokens"]}
    made = [left + right for left, right in merges]
    in_turn = 1 + sum(token != following for token, following in pairwise(made))
    return in_turn == len(set(made)) and all(
        pair in known
        for token in vocabulary
        if token not in special
        for pair in _splits(token)
        if pair[0] in vocabulary and pair[1] in vocabulary
    )


def _splits(token: str) -> Iterator[tuple[str, str]]:
    for i in range(1, len(token)):
        yield token[:i], token[i:]


def _merges(definition: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The pairs that are joined, first ones first; old files have them as strings."""
    merges = definition["model"]["merges"]
    return [tuple(x.split(" ", 1) if isinstance(x, str) else x) for x in merges]


def _scores(definition: Mapping[str, Any]) -> dict[str, float]:
    """The sooner two pieces are joined, the higher is the score of what they give."""
    scores: dict[str, float] = {}
    for left, right in _merges(definition):
        scores.setdefault(left + right, -float(len(scores)))
    return scores


def _tokens(tokenizer: _Tokenizer, count: int) -> tuple[list[str], list[int]]:
    """The first `count` tokens and their types; those that are missing are unused."""
    model = tokenizer.definition["model"]
    tokens = [f"[PAD{i}]" for i in range(count)]
    types = [int(TokenType.UNUSED)] * count
    for token, i in model["vocab"].items():
        if i < count:
            tokens[i], types[i] = token, int(TokenType.NORMAL)
            if tokenizer.model == "llama" and token in _BYTES:
                types[i] = int(TokenType.BYTE)
    for added in tokenizer.definition["added_tokens"]:
        i = added["id"]
        if i < count:
            is_special = added["special"]
            text = added["content"]
            tokens[i] = text if is_special else text.replace(_SPACE, " ")
            types[i] = int(TokenType.CONTROL if is_special else TokenType.USER_DEFINED)
            if tokenizer.model == "llama" and text == model.get("unk_token"):
                types[i] = int(TokenType.UNKNOWN)
    return tokens, types
