"""A tokenizer with the kept tokens alone, also in the header of a GGUF file."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from surgeon_engine.base.decoding import encode_json
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.model.gguf_tokenizer import Entry
from surgeon_engine.model.vocabulary.definition import (
    Definition,
    Kind,
    definition_of,
    steps,
)

_Ids = Mapping[int, int]  # old to new
_LISTS = ("tokens", "scores", "token_type")  # one value for each token


def trimmed_tokenizer(
    tokenizer: PreTrainedTokenizerBase, kept: Sequence[int]
) -> PreTrainedTokenizerBase:
    """Return a tokenizer with the kept tokens alone.

    The original stays as it is. `kept` are ids in ascending order; the new id of a
    token is its place. Ids beyond the tokenizer's may follow.

    Raises:
        ConfigError: The tokenizer is of a kind that cannot be trimmed, or its ids have
            a gap that is kept.
    """
    definition = definition_of(tokenizer)
    new = {int(old): i for i, old in enumerate(kept)}
    content = {**definition.content, "model": _model(definition, new)}
    content["added_tokens"] = [
        {**token, "id": new[token["id"]]}
        for token in definition.added
        if token["id"] in new
    ]
    content["post_processor"] = copy.deepcopy(definition.content["post_processor"])
    for step in steps(content["post_processor"]):
        _renumber_step(step, new)
    if padding := definition.content.get("padding"):
        pad = new.get(padding["pad_id"], 0)
        content["padding"] = {**padding, "pad_id": pad}
    trimmed = copy.copy(tokenizer)
    trimmed._tokenizer = Tokenizer.from_str(encode_json(content).decode())
    trimmed.init_kwargs = _options(tokenizer.init_kwargs, new)
    for name in ("_vocab", "_merges", "vocab_file"):  # values of the original
        trimmed.__dict__.pop(name, None)
    expected = {name: new[i] for name, i in definition.ids.items() if i in new}
    if trimmed.get_vocab() != expected:
        raise ConfigError(
            "The tokens of this tokenizer cannot be numbered anew: their numbers have "
            "gaps.",
            "Remove the unused tokens, too.",
        )
    return trimmed


def trimmed_entries(
    entries: tuple[Entry, ...], kept: Sequence[int]
) -> tuple[Entry, ...]:
    """Return the entries of a GGUF header for a vocabulary of the kept tokens alone.

    `kept` has the ids of the kept tokens in ascending order.
    """
    new = {int(old): i for i, old in enumerate(kept)}
    values = {entry.name: entry.value for entry in entries}
    names = {values["tokenizer.ggml.tokens"][old] for old in new}
    found = []
    for entry in entries:
        value, name = entry.value, entry.name.removeprefix("tokenizer.ggml.")
        if name in _LISTS:
            value = [value[old] for old in new]
        elif name == "merges":
            value = [merge for merge in value if _is_kept(merge.split(" ", 1), names)]
        elif name.endswith("_token_id"):
            value = new.get(value)
        elif name.endswith("_token_ids"):
            value = [new[old] for old in value if old in new]
        elif name == "tokenizer.huggingface.json":  # a copy of the original's
            value = None
        if value not in (None, []):  # no list in a header is empty
            found.append(entry._replace(value=value))
    return tuple(found)


def _model(definition: Definition, new: _Ids) -> dict[str, Any]:
    """Return the vocabulary, and the merges or the scores, of the kept tokens."""
    model = dict(definition.model)
    vocabulary = model["vocab"]
    if definition.kind is Kind.UNIGRAM:
        model["vocab"] = [vocabulary[old] for old in new if old < len(vocabulary)]
        unknown = model.get("unk_id")
        model["unk_id"] = None if unknown is None else new[unknown]
        return model
    model["vocab"] = {name: new[i] for name, i in vocabulary.items() if i in new}
    model["merges"] = [
        pair for pair in definition.merges if _is_kept(pair, model["vocab"])
    ]
    return model


def _is_kept(pair: Sequence[str], names: Mapping[str, Any] | set[str]) -> bool:
    """Return whether a merge is possible: both parts and the result are tokens."""
    left, right = pair
    return left in names and right in names and left + right in names


def _renumber_step(step: dict[str, Any], new: _Ids) -> None:
    """Put the new ids into a step of the post-processor."""
    for token in (step.get("special_tokens") or {}).values():
        token["ids"] = [new[old] for old in token["ids"]]
    for side in ("cls", "sep"):
        if side in step:
            step[side][1] = new[step[side][1]]


def _options(options: Mapping[str, Any], new: _Ids) -> dict[str, Any]:
    """Return the options with which transformers made a tokenizer, with new ids."""
    copied = dict(options)
    copied.pop("vocab_file", None)
    if added := copied.get("added_tokens_decoder"):
        copied["added_tokens_decoder"] = {
            new[int(old)]: token for old, token in added.items() if int(old) in new
        }
    return copied
