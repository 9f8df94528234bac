"""The prompts that judge a model: the user's own, and Surgeon's."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import msgspec

from surgeon_engine.api.messages.judgment import Probe
from surgeon_engine.base.decoding import Decoder, json_decoder
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.files import expand_path
from surgeon_engine.base.reading import read_text
from surgeon_engine.calibration.builtin import builtin_documents
from surgeon_engine.judging.scoring import (
    has_number,
    is_json,
    is_text,
    language_of,
    refuses,
)

_LIMIT = 1 << 20  # bytes of a file of prompts
_MOST = 1000  # prompts of a file
_FIELDS = ("prompt", "question", "instruction", "text")
_QUICK = 3  # one of so many items
# Tokens of an answer.
_FREE, _SHORT, _OBJECT, _NUMBER = 40, 20, 40, 16
NEEDLES = (Probe.NEEDLE_SHORT, Probe.NEEDLE_MIDDLE, Probe.NEEDLE_LONG)
_NEEDLES_EACH = 8
_NEEDLE = "The secret number of the {place} is {number}."
_QUESTION = (
    "{text}\n\nWhat is the secret number of the {place}? Answer with the number only."
)
_PLACES = (
    "harbor",
    "library",
    "museum",
    "station",
    "castle",
    "market",
    "garden",
    "theater",
)
_ANY: Decoder[Any] = json_decoder(Any)
_LONGEST = 1024  # tokens; the longest text has half as many
_CHARACTERS = 4  # per token, about


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt, and how to judge its answer."""

    prompt: str
    tokens: int  # limit of an answer
    probe: Probe | None = None  # None: the answers are compared
    is_right: Callable[[str], bool] = bool
    is_own: bool = False  # from the user's prompts


def all_items(own: str, window: int, *, quick: bool) -> list[Item]:
    """Return the items in the order in which they are asked.

    Args:
        own: file of the user's prompts; empty: none.
        window: tokens that the models read at most.
        quick: take a third of Surgeon's items.

    Raises:
        ConfigError: The file holds no prompts.
        UnreadableFileError: It cannot be read.
    """
    found = [Item(x, _FREE) for x in _resource("prompts")]
    found += [
        Item(x, _SHORT, Probe.REFUSES_HARM, refuses) for x in _resource("harmful")
    ]
    found += [
        Item(x, _FREE, Probe.ANSWERS_HARMLESS, _answers) for x in _resource("harmless")
    ]
    for x in _resource("json"):
        is_right = partial(is_json, keys=x["keys"])
        found.append(Item(x["prompt"], _OBJECT, Probe.JSON, is_right))
    for x in _resource("arithmetic"):
        is_right = partial(has_number, number=x["answer"])
        found.append(Item(x["prompt"], _NUMBER, Probe.ARITHMETIC, is_right))
    for x in _resource("language"):
        is_right = partial(_is_in, language=x["language"])
        found.append(Item(x["prompt"], _SHORT, Probe.LANGUAGE, is_right))
    found += _needles(window)
    if quick:
        found = found[::_QUICK]
    return [Item(x, _FREE, is_own=True) for x in _own_prompts(own)] + found


def _answers(answer: str) -> bool:
    return is_text(answer) and not refuses(answer)


def _is_in(answer: str, language: str) -> bool:
    return language_of(answer) == language


def _resource(name: str) -> Any:
    path = files("surgeon_resources") / "judging" / f"{name}.json"
    return _ANY(path.read_bytes())


def _needles(window: int) -> Iterator[Item]:
    """Yield questions about a number that stands in a text, at several depths.

    All are in the same text: llama.cpp reads once what two questions in a row begin
    with.
    """
    paragraphs = [
        " ".join(x.split())
        for document in builtin_documents("validation")
        for x in document.split("\n\n")
        if x.strip() and not any(y.isdigit() for y in x)
    ]
    whole = min(window, _LONGEST)
    for length, probe in zip(
        (whole // 8, whole // 4, whole // 2), NEEDLES, strict=True
    ):
        chosen = _first(paragraphs, length * _CHARACTERS)
        for index, place in enumerate(_PLACES):
            number = 1000 + (7919 * (index + 1) + 613 * length) % 9000
            needle = _NEEDLE.format(place=place, number=number)
            depth = round(len(chosen) * index / (_NEEDLES_EACH - 1))
            text = "\n\n".join([*chosen[:depth], needle, *chosen[depth:]])
            prompt = _QUESTION.format(text=text, place=place)
            yield Item(prompt, _NUMBER, probe, partial(has_number, number=number))


def _first(paragraphs: Sequence[str], characters: int) -> list[str]:
    """Return the first paragraphs with so many characters; the last one is cut."""
    found: list[str] = []
    for each in paragraphs:
        if characters <= 0:
            break
        found.append(each[:characters])
        characters -= len(each)
    return found


def _own_prompts(path: str) -> list[str]:
    if not path:
        return []
    text = read_text(expand_path(path), _LIMIT)
    # Unlike `splitlines`, this leaves U+2028 and its like in a prompt.
    numbered = enumerate(io.StringIO(text, newline=None), 1)
    given = [(number, line.rstrip("\n")) for number, line in numbered if line.strip()]
    lines = [line for _, line in given]
    if path.endswith(".jsonl"):
        lines = [_prompt_of(path, number, line) for number, line in given]
    if not 0 < len(lines) <= _MOST:
        raise ConfigError(
            "{path} holds {count:,} prompts; 1 to {most:,} are possible.",
            "Write one prompt in each line.",
            path=path,
            count=len(lines),
            most=_MOST,
        )
    return lines


def _prompt_of(path: str, number: int, line: str) -> str:
    """Return the prompt of a line of JSON: a text, or an object with one."""
    try:
        found = _ANY(line)
    except msgspec.MsgspecError:
        found = None
    if isinstance(found, dict):
        found = next((found[x] for x in _FIELDS if x in found), None)
    if not isinstance(found, str) or not found.strip():
        raise ConfigError(
            "Line {number} of {path} holds no prompt.",
            'Write a text, or an object such as {{"prompt": "..."}}, in each line.',
            number=number,
            path=path,
        )
    return found
