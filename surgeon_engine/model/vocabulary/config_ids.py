"""The numbers of tokens, and the sizes of vocabularies, that configs state.

The language model's numbers are updated wherever they stand: "eos_token_id",
"image_token_index", "vocab_size_per_layer_input", "suppress_tokens". Towers have
vocabularies of their own, but their offset, which follows the tokens of texts, changes.
The whole model may have one, too: tokens from "image_token_offset" on are images.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

from transformers import GenerationConfig, PretrainedConfig

from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.vocabulary.definition import OTHERS

# Numbers of tokens in all, or before other tokens.
_COUNTED = re.compile(r"(vocab_(size|offset)(_\w+)?|\w+_token_offset)$")
_NAMED = re.compile(r"(\w+_)?token_(id|ids|index|idx)$")
# Lists of tokens that a model must not write, or of such sequences.
_DROPPED = {"suppress_tokens", "begin_suppress_tokens", "bad_words_ids"}
_OFFSET = "vocab_offset"  # in configs of towers
_FIRST = re.compile(r"\w+_token_offset$")
_TABLES = ("vocabulary_map", "sequence_bias", "force_words_ids", "forced_decoder_ids")

Values = dict[str, Any]


class NewNumbers:
    """The numbers of the tokens in a smaller vocabulary."""

    def __init__(self, kept: list[int]) -> None:
        """Take the original numbers of the kept tokens, ascending."""
        self._kept = kept

    def size(self, before: int) -> int:
        """Return how many of the first tokens are kept."""
        return bisect_left(self._kept, before)

    def holds(self, token: int) -> bool:
        """Return whether a token is kept."""
        place = self.size(token)
        return place < len(self._kept) and self._kept[place] == token

    def of(self, value: Any) -> Any:
        """Return the number of a token, or lists of such numbers.

        Numbers of no kept token, such as -1, stay as they are.
        """
        if isinstance(value, list | tuple):
            return type(value)(self.of(x) for x in value)
        return self.size(value) if _is_token(value) and self.holds(value) else value

    def left(self, value: list[Any]) -> list[Any]:
        """Return the kept tokens, or the sequences of kept tokens alone."""
        return [self.of(x) for x in value if all(map(self.holds, _tokens(x)))]


def text_configs(config: PretrainedConfig) -> list[PretrainedConfig]:
    """Return a config and the configs inside it, down to the language model's."""
    text, found = config.get_text_config(), [config]
    while found[-1] is not text:
        parts = (getattr(found[-1], name, None) for name in found[-1].sub_configs)
        inner = [
            part
            for part in parts
            if isinstance(part, PretrainedConfig) and part.get_text_config() is text
        ]
        found.append(inner[0] if inner else text)
    return found


def offsets(config: PretrainedConfig) -> Iterator[PretrainedConfig]:
    """Yield the configs of towers whose tokens come after the tokens of texts."""
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if isinstance(getattr(part, _OFFSET, None), int):
            yield part


def needed_rows(
    config: PretrainedConfig, generation: GenerationConfig | None, rows: int
) -> set[int]:
    """Return the rows of the embedding that a model needs whatever its texts are.

    They are the tokens that its configs name, the tokens of towers, and rows beyond the
    stated size of the vocabulary, which some models have for images.
    """
    starts = [x.vocab_offset for x in offsets(config)]
    for each in text_configs(config):
        starts += [x for name, x in vars(each).items() if _FIRST.match(name)]
    first = min([config.get_text_config().vocab_size, *filter(_is_token, starts)])
    named = [vars(each) for each in text_configs(config)]
    if generation is not None:
        named.append(vars(generation))
    tokens = (token for each in named for token in tokens_in(each))
    return {*range(first, rows), *(x for x in tokens if x < rows)}


def tokens_in(values: Mapping[Any, Any]) -> Iterator[int]:
    """Yield the tokens that the values of a config, or of a file, name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from tokens_in(value)
        elif _NAMED.match(str(name)):
            yield from _tokens(value)


def renumber(config: PretrainedConfig | GenerationConfig, numbers: NewNumbers) -> None:
    """Renumber the tokens of a config, in place, and shrink its vocabulary.

    Raises:
        ModelError: It has a table of tokens.
    """
    is_model = isinstance(config, PretrainedConfig)
    for each in text_configs(config) if is_model else [config]:
        for name in _TABLES:
            if getattr(each, name, None):
                raise ModelError(
                    "The vocabulary of this model cannot be made smaller: its config "
                    "lists tokens in {name}.",
                    OTHERS,
                    name=name,
                )
        before = dict(vars(each))  # some configs forbid to read widths of blocks
        for name, value in renumbered(before, numbers).items():
            if value is not before[name]:
                setattr(each, name, value)
    for part in offsets(config) if is_model else ():
        setattr(part, _OFFSET, numbers.size(getattr(part, _OFFSET)))


def renumbered(values: Mapping[Any, Any], numbers: NewNumbers) -> dict[Any, Any]:
    """Return the values of a config, or of the file of a processor, renumbered."""
    result = dict(values)
    for name, value in values.items():
        if isinstance(value, Mapping) and any(True for _ in tokens_in(value)):
            result[name] = renumbered(value, numbers)
        elif _NAMED.match(str(name)):
            result[name] = numbers.of(value)
        elif _COUNTED.match(str(name)) and isinstance(value, int):
            result[name] = numbers.size(value)
        elif name in _DROPPED and value:
            result[name] = numbers.left(value) or None
    return result


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tokens(value: Any) -> Iterator[int]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _tokens(each)
    elif _is_token(value):
        yield value
