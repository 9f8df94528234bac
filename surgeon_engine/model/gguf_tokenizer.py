"""The tokenizer in the header of a GGUF file.

llama.cpp knows some ways of splitting a text by name. transformers applies only some of
these names when it loads a GGUF file, and keeps none of them. The entries of the header
are therefore kept in a file beside the checkpoints of a run, from which later GGUF
files are made.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import gguf
from gguf import GGUFValueType, GGUFWriter
from tokenizers import Regex, Tokenizer, decoders, normalizers
from tokenizers.pre_tokenizers import (
    ByteLevel,
    Digits,
    PreTokenizer,
    Punctuation,
    Sequence,
    Split,
)
from transformers import PreTrainedTokenizerBase

from surgeon_engine.model.identity import FileStamp, stamp_of

# A GGUF file without tensors. It lacks their suffix: programs would run it as a model.
HEADER_FILE = "gguf_tokenizer.header"
# Copied from the tokenizer.json of models with these tokenizers.
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
_QWEN_35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|"
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT_4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"  # noqa: RUF001
GPT_2, DIGITS = "GPT-2", "digits"
PUNCTUATION, NUMBERS = "punctuation", "numbers"  # runs of them


class Splits(NamedTuple):
    """The rules by which a tokenizer of bytes splits a text before it merges bytes."""

    steps: tuple[str, ...]  # names as above, or regular expressions
    ignores_merges: bool  # whether a part in the vocabulary is a token at once


# By llama.cpp's name.
SPLITS = {
    "gpt-2": Splits((GPT_2,), False),
    "smollm": Splits((DIGITS, GPT_2), False),
    "llama-bpe": Splits((_LLAMA_3,), True),
    "dbrx": Splits((_LLAMA_3,), False),
    "qwen2": Splits((_QWEN_2,), False),
    "tekken": Splits((_TEKKEN,), True),
    "qwen35": Splits((_QWEN_35,), False),
    "gpt-4o": Splits((_GPT_4O,), False),
    "bloom": Splits((_BLOOM,), False),
    "falcon": Splits((PUNCTUATION, GPT_2, NUMBERS, "[0-9][0-9][0-9]"), False),
}
# Further names for the same splits.
_SYNONYMS = {
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "falcon3": "llama-bpe",
    "lfm2": "llama-bpe",
    "smaug-bpe": "dbrx",
    "chatglm-bpe": "dbrx",
    "glm4": "llama-bpe",
    "olmo": "gpt-2",
    "exaone4": "gpt-2",
    "phi-2": "gpt-2",
    "stablelm2": "qwen2",
    "llama4": "gpt-4o",
    "deepseek-r1-qwen": "qwen2",
    "starcoder": "smollm",
    "refact": "smollm",
    "codeshell": "smollm",
}


class Entry(NamedTuple):
    """An entry of a GGUF header, in the order of `GGUFWriter.add_key_value`."""

    name: str
    value: Any
    kind: GGUFValueType
    inner: GGUFValueType | None  # type of the elements of a list


def tokenizer_entries(path: Path) -> tuple[Entry, ...]:
    """Return the entries of a GGUF header that describe the tokenizer."""
    return _read_entries(stamp_of(path))


@lru_cache(maxsize=1)  # reading hundreds of thousands of merges takes seconds
def _read_entries(file: FileStamp) -> tuple[Entry, ...]:
    entries = []
    for name, field in gguf.GGUFReader(file.path).fields.items():
        if name.startswith("tokenizer."):
            kind, *rest = field.types
            inner = rest[0] if kind == GGUFValueType.ARRAY else None
            entries.append(Entry(name, field.contents(), kind, inner))
    return tuple(entries)


def write_header(
    entries: tuple[Entry, ...], path: Path, architecture: str = ""
) -> None:
    """Write a GGUF file that holds these entries and an architecture alone."""
    writer = GGUFWriter(path, architecture)
    try:
        for entry in entries:
            writer.add_key_value(*entry)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
    finally:
        writer.close()


def leave_out_unlisted(
    tokenizer: PreTrainedTokenizerBase, entries: tuple[Entry, ...]
) -> None:
    """Remove the tokens that transformers adds to the tokens of a header.

    They are usual ones of its class, such as the end of texts of GPT-2. The model has
    no embedding of them, and llama.cpp reads their names as any text.
    """
    names: list[str] = next(
        (x.value for x in entries if x.name == "tokenizer.ggml.tokens"), []
    )
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or len(tokenizer) <= len(names):
        return
    content = json.loads(backend.to_str())
    added = content["added_tokens"]
    content["added_tokens"] = [x for x in added if x["id"] < len(names)]
    holder: Any = tokenizer
    holder._tokenizer = Tokenizer.from_str(json.dumps(content))
    stated = tokenizer.init_kwargs.get("added_tokens_decoder", {})
    for number in [x for x in stated if int(x) >= len(names)]:
        del stated[number]


def correct_splits(
    tokenizer: PreTrainedTokenizerBase, entries: tuple[Entry, ...]
) -> None:
    """Make a tokenizer that transformers loaded treat texts as llama.cpp does."""
    values = {entry.name: entry.value for entry in entries}
    name = values.get("tokenizer.ggml.pre", "")
    splits = SPLITS.get(_SYNONYMS.get(name, name))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return
    model = values.get("tokenizer.ggml.model")
    if model == "gpt2" and splits is not None:
        backend.pre_tokenizer = _pre_tokenizer(splits.steps)
        backend.model.ignore_merges = splits.ignores_merges
    elif model == "llama":
        prefixes = values.get("tokenizer.ggml.add_space_prefix", True)
        prefix = [normalizers.Prepend("\u2581")] if prefixes else []
        spaces = normalizers.Replace(" ", "\u2581")
        backend.normalizer = normalizers.Sequence([*prefix, spaces])
        backend.pre_tokenizer = None
        if not prefixes:  # transformers would leave out the first space of a text
            words = decoders.Replace("\u2581", " ")
            rest = decoders.ByteFallback(), decoders.Fuse()
            backend.decoder = decoders.Sequence([words, *rest])
    elif model == "gemma4":  # transformers leaves this to chat templates
        tokenizer.add_bos_token = True


def _pre_tokenizer(steps: tuple[str, ...]) -> PreTokenizer:
    by_name = {
        GPT_2: ByteLevel(add_prefix_space=False),
        DIGITS: Digits(individual_digits=True),
        NUMBERS: Digits(individual_digits=False),
        PUNCTUATION: Punctuation("contiguous"),
    }
    parts = [by_name.get(step) or Split(Regex(step), "isolated") for step in steps]
    if GPT_2 not in steps:
        parts.append(ByteLevel(add_prefix_space=False, use_regex=False))
    return parts[0] if len(parts) == 1 else Sequence(parts)
