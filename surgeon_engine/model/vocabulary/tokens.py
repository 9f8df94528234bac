"""The tokens of a vocabulary: which can be removed, and in which order."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from surgeon_engine.api.messages.vocabulary import ScriptLoss
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.reading import read_text
from surgeon_engine.base.sentences import say
from surgeon_engine.model.chat_template import DATE, TEMPLATE_ERRORS, render
from surgeon_engine.model.vocabulary.definition import (
    SPACE,
    Definition,
    Kind,
    definition_of,
    steps,
    unsupported,
)
from surgeon_engine.model.vocabulary.merges import parts_of
from surgeon_engine.model.vocabulary.scripts import (
    LANGUAGES,
    Language,
    is_of,
    script_names,
    script_of,
)

_FLAT = 100  # the first tokens are about equally frequent: 1 / (number + 100)
_EXAMPLES = 8  # tokens shown per script
_LARGEST_TEXT = 2**26  # bytes of a file of words
_WORDS = re.compile(r"\S+\s*")


@dataclass(frozen=True)
class TokenTable:
    """The tokens of a tokenizer by id.

    Args:
        pieces: The bytes that a token stands for in a text; None for special and unused
            ids. An added token that is not special stands for its text.
        parts: The two tokens that a token is merged from. Without both it is never
            found in a text. A token of one character or byte has none, nor has any in
            Unigram.
        fixed: Tokens that must be kept.
    """

    pieces: tuple[bytes | None, ...]
    parts: Mapping[int, tuple[int, int]]
    fixed: frozenset[int]

    @property
    def size(self) -> int:
        """The number of ids."""
        return len(self.pieces)


def token_table(tokenizer: PreTrainedTokenizerBase | None) -> TokenTable:
    """Return the tokens of a tokenizer.

    Raises:
        ConfigError: Its vocabulary cannot be reduced.
    """
    definition = definition_of(tokenizer)
    assert tokenizer is not None
    parts = parts_of(definition)
    fixed = {
        *_basic(definition),
        *_named(definition),
        *tokenizer.all_special_ids,
        *_of_template(tokenizer),
    }
    closed = _with_parts(fixed, parts)
    return TokenTable(definition.pieces, parts, frozenset(closed))


def table_for(
    tokenizer: PreTrainedTokenizerBase | None,
    rows: int,
    needed: Collection[int],
    keep: Sequence[str],
) -> TokenTable:
    """Return the tokens of a model and fix the ones that a run must keep.

    The model has `rows` tokens by its config, and needs those in `needed` whatever its
    texts are. `keep` names further ones; see `protected`.

    Raises:
        ConfigError: The vocabulary cannot be reduced, or a name is unknown.
        UnreadableFileError: A file cannot be read.
    """
    table = token_table(tokenizer)
    check_rows(table, rows)
    named = {row for row in needed if row < table.size}
    fixed = table.fixed | named | protected(table, keep, tokenizer)
    return replace(table, fixed=fixed)


def check_rows(table: TokenTable, rows: int) -> None:
    """Check that a model reads and predicts all tokens.

    Raises:
        ConfigError: It does not.
    """
    if table.size > rows:
        raise unsupported(
            say(
                "its tokenizer has {tokens:,} tokens, and its config states {rows:,}",
                tokens=table.size,
                rows=rows,
            )
        )


def token_bytes(tokenizer: PreTrainedTokenizerBase | None) -> Tensor | None:
    """Return how many bytes of text each token stands for, by id; special ones none.

    The result is int64, or None if the names of the tokens do not tell.
    """
    try:
        pieces = definition_of(tokenizer).pieces
    except ConfigError:
        return None
    return torch.tensor([len(piece or b"") for piece in pieces])


def closed_costs(costs: np.ndarray, table: TokenTable) -> tuple[np.ndarray, np.ndarray]:
    """Raise the costs of tokens to the costs of the tokens that are merged from them.

    Return the costs by id, infinite for tokens that must be kept, and the other tokens
    in the order in which they can be removed: ascending costs, and of equal costs the
    tokens that depend on others first. What remains is closed at any point.
    """
    closed = costs.astype(np.float64)
    closed[list(table.fixed)] = np.inf
    tokens = np.fromiter(table.parts, np.int64, len(table.parts))
    pairs = np.array(list(table.parts.values()), np.int64).reshape(-1, 2)
    heights = _heights(tokens, pairs, table.size)
    for height in range(int(heights.max(initial=0)), 0, -1):
        at = np.flatnonzero(heights[tokens] == height)
        np.maximum.at(closed, pairs[at], closed[tokens[at], None])
    order = np.lexsort((-heights, closed))
    return closed, order[np.isfinite(closed[order])]


def protected(
    table: TokenTable,
    keep: Sequence[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> set[int]:
    """Return the tokens that a user wants to keep, with the tokens they depend on.

    Args:
        table: The tokens.
        keep: Names of scripts ("Cyrillic", "Emoji"), of languages ("German"), or paths
            of text files whose tokens are kept. A language keeps each token that can
            occur in one of its words.
        tokenizer: The tokenizer of the table, for text files.

    Raises:
        ConfigError: A name is unknown.
        UnreadableFileError: A file cannot be read.
    """
    found: set[int] = set()
    languages = {name.casefold(): name for name in LANGUAGES}
    scripts = {name.casefold(): name for name in script_names()}
    for name in keep:
        plain = name.strip().casefold().replace(" ", "_")
        if plain in scripts:
            found |= _of_language(table, Language((scripts[plain],)))
        elif plain in languages:
            found |= _of_language(table, LANGUAGES[languages[plain]])
        elif tokenizer is not None and Path(name).expanduser().is_file():
            found |= _of_text(Path(name).expanduser(), tokenizer)
        else:
            raise ConfigError(
                "{name:shown} is no script, no language that is known here, and no "
                "text file.",
                "Name a script such as Latin, Cyrillic or Han, a language such as "
                "German, or give the path of a text in the language.",
                settings=("kept_texts",),
                name=name,
            )
    return _with_parts(found, table.parts)


def too_few_tokens(tokens: int, least: int) -> ConfigError:
    """Return the error for a vocabulary that is too small."""
    return ConfigError(
        "The vocabulary cannot have fewer than {least:,} tokens, and {tokens:,} are "
        "asked for: bytes, special tokens, digits and those to keep stay.",
        "Keep more tokens.",
        settings=("vocabulary_tokens",),
        least=least,
        tokens=tokens,
    )


def lost(table: TokenTable, removed: Collection[int]) -> tuple[ScriptLoss, ...]:
    """Return how many tokens each script loses, the most first."""
    before: Counter[str] = Counter()
    gone: dict[str, list[int]] = defaultdict(list)
    is_removed = set(removed)
    for token, piece in enumerate(table.pieces):
        if piece is not None:
            script = script_of(piece)
            before[script] += 1
            if token in is_removed:
                gone[script].append(token)
    losses = [
        ScriptLoss(script, count, len(gone[script]), _examples(table, gone[script]))
        for script, count in before.items()
    ]
    return tuple(sorted(losses, key=lambda x: (-x.removed, -x.tokens, x.script)))


def zipf(size: int) -> np.ndarray:
    """Return how often each token is expected by Zipf's law, by id; 1 in all.

    Tokenizers learn frequent tokens first.
    """
    law = 1 / (np.arange(size) + _FLAT)
    return law / law.sum()


def _basic(definition: Definition) -> set[int]:
    """Return the tokens without which some texts would have no tokens.

    Digits and ASCII characters are among them, and in Unigram the tokens of the lowest
    score: the score of unknown characters depends on it.
    """
    ids = definition.ids
    found = {x["id"] for x in definition.added}
    if definition.has_all_bytes:
        found |= {ids[definition.name_of_byte(byte)] for byte in range(256)}
    for name, i in ids.items():
        is_basic = name.isascii() if definition.has_all_bytes else True
        if (len(name) == 1 and is_basic) or (name.isascii() and name.isdigit()):
            found.add(i)
    if definition.kind is not Kind.BYTES and SPACE in ids:
        found.add(ids[SPACE])
    if definition.kind is Kind.UNIGRAM:
        scores = [score for _, score in definition.model["vocab"]]
        found.add(scores.index(min(scores)))
    if definition.unknown is not None:
        found.add(definition.unknown)
    return found


def _named(definition: Definition) -> set[int]:
    """Return the tokens that other parts of the tokenizer name."""
    content, ids = definition.content, definition.ids
    names: list[Any] = []
    for step in (*steps(content["normalizer"]), *steps(content["pre_tokenizer"])):
        names += [step.get("content"), step.get("prepend")]
    for step in steps(content["post_processor"]):
        names += [step.get(side, [None])[0] for side in ("cls", "sep")]
        for token in (step.get("special_tokens") or {}).values():
            names += token["tokens"]
    if content.get("padding"):
        names.append(content["padding"]["pad_token"])
    return {ids[name] for name in names if isinstance(name, str) and name in ids}


def _of_template(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the tokens that the chat template writes around messages."""
    templates = tokenizer.chat_template or ()
    if isinstance(templates, dict):
        templates = tuple(templates.values())
    elif isinstance(templates, str):
        templates = (templates,)
    texts = [text for template in templates for text in _literals(template)]
    for roles in (("user",), ("system", "user", "assistant"), ("user", "assistant")):
        chat = [{"role": role, "content": "0"} for role in roles]
        for prompts in (False, True):
            try:
                texts.append(
                    render(
                        chat,
                        tokenizer,
                        date_string=DATE,
                        add_generation_prompt=prompts,
                    )
                )
            except TEMPLATE_ERRORS:
                continue
    encode = partial(tokenizer, add_special_tokens=False, verbose=False)
    return {token for text in texts for token in encode(text).input_ids}


def _literals(template: str) -> list[str]:
    """Return the texts and strings in a chat template."""
    try:
        found = list(jinja2.Environment(autoescape=True).lex(template))
    except jinja2.TemplateError:
        return []
    strings = [value[1:-1] for _, kind, value in found if kind == "string"]
    return [value for _, kind, value in found if kind == "data"] + [
        value.replace("\\n", "\n") for value in strings
    ]


def _with_parts(
    tokens: Iterable[int], parts: Mapping[int, tuple[int, int]]
) -> set[int]:
    """Return tokens, and all tokens that they depend on."""
    found: set[int] = set()
    waiting = list(tokens)
    while waiting:
        token = waiting.pop()
        if token not in found:
            found.add(token)
            waiting += parts.get(token, ())
    return found


def _heights(tokens: np.ndarray, pairs: np.ndarray, size: int) -> np.ndarray:
    """Return how many merges in a row make each token; 0 without merges."""
    heights = np.zeros(size, np.int64)
    while True:
        found = heights[pairs].max(axis=1, initial=-1) + 1
        if np.array_equal(found, heights[tokens]):
            return heights
        heights[tokens] = found


def _of_language(table: TokenTable, language: Language) -> set[int]:
    pieces = enumerate(table.pieces)
    return {i for i, piece in pieces if piece is not None and is_of(piece, language)}


def _of_text(path: Path, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    words = set(_WORDS.findall(read_text(path, _LARGEST_TEXT)))
    texts = [text for word in words for text in (word, f" {word}")]
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(
        texts, add_special_tokens=False
    )
    return {token for encoding in encoded for token in encoding.ids}


def _examples(table: TokenTable, tokens: Iterable[int]) -> tuple[str, ...]:
    """Return the texts of the first tokens that are whole characters."""
    texts: list[str] = []
    for token in tokens:
        try:
            texts.append((table.pieces[token] or b"").decode().strip())
        except UnicodeDecodeError:
            continue
        if len(texts) == _EXAMPLES:
            break
    return tuple(filter(None, texts))
