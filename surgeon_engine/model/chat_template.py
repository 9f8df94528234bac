"""The tokens in front of texts and chats, and the template that renders chats.

The template is code of the model's authors.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from surgeon_engine.base.sentences import say

# Some templates write today's date unless they get one. A job renders the same texts on
# every day.
DATE = "01 Jan 2025"
_MARKER = "surgeon-marks-the-first-word"
_SECONDS = 5.0  # per chat; templates take milliseconds
_REJECTIONS = (  # errors of a template that does not know a kind of chat, or is wrong
    jinja2.TemplateError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
TEMPLATE_ERRORS = (*_REJECTIONS, MemoryError, TimeoutError)


def beginning_of_texts(tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """Return the tokens that `tokenizer` puts in front of a text; often none."""
    if tokenizer is None:
        return []
    bare = tokenizer("a", add_special_tokens=False).input_ids
    whole = tokenizer("a").input_ids
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return list(whole[:start])
    return []


def render(
    messages: list[dict[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    **options: bool | str,
) -> str:
    """Return the text of a chat, in which the template has put the special tokens.

    A template is code of the model's authors, in a sandbox that knows no time limit.
    `options` are further ones of `apply_chat_template`.

    Raises:
        Exception: one of `TEMPLATE_ERRORS`; the template cannot render the chat.
    """
    with _time_limit():
        text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    assert isinstance(text, str)
    return text


def opening_of_chats(tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """Return the tokens of a chat up to the first word of the user; empty if unknown.

    It is unknown where there is no template, or none that renders a user's message.

    Raises:
        MemoryError: The template takes the whole memory.
        TimeoutError: It takes seconds.
    """
    if tokenizer is None or not tokenizer.chat_template:
        return []
    message = {"role": "user", "content": _MARKER}
    try:
        before, marker, _ = render([message], tokenizer, date_string=DATE).partition(
            _MARKER
        )
    except _REJECTIONS:
        return []
    if not marker:
        return []
    # A space before a word belongs to the token of the word.
    opening = tokenizer(before.rstrip(" "), add_special_tokens=False).input_ids
    beginning = beginning_of_texts(tokenizer)
    if opening[: len(beginning)] != beginning:
        opening = beginning + opening
    return list(opening) if opening != beginning else []


@contextmanager
def _time_limit() -> Iterator[None]:
    """Limit the time of the Python functions that the block calls.

    Raises:
        TimeoutError: The time is over.
    """
    until = time.monotonic() + _SECONDS

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > until:
            raise TimeoutError(
                say("it takes more than {seconds:g} seconds", seconds=_SECONDS)
            )
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
