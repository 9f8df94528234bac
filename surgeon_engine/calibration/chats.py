"""Chats: lists of messages, rendered by the chat template of the model.

A message is {"role": "user", "content": "..."} or {"from": "human", "value": "..."}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from surgeon_engine.api.errors import CalibrationError
from surgeon_engine.calibration.beginnings import beginning_of_texts
from surgeon_engine.runtime.time_limit import time_limit

_ROLES = {"human": "user", "gpt": "assistant"}  # as templates call them
# Some templates write today's date unless they get one. A job renders the same texts on
# every day.
_DATE = "01 Jan 2025"
_MARKER = "surgeon-marks-the-first-word"
_SECONDS = 5.0  # for a chat; templates take milliseconds
TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
    TimeoutError,
)


def render_chats(
    name: str, chats: Sequence[Any], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Return the texts of the chats that the template of a model can render.

    Args:
        name: of their column, in error messages.
        chats: the values of the rows; the others are left out.
        tokenizer: has the template.

    Raises:
        CalibrationError: There is no template, or it can render none of the chats.
    """
    if not tokenizer.chat_template:
        raise CalibrationError(
            f"There are chats in {name}, but the model has no chat template to "
            "render them.",
            "Use a model that was trained on chats, or choose a column with text.",
        )
    texts, reason = [], ""
    for chat in chats:
        try:
            texts.append(render(messages_of(chat), tokenizer, date_string=_DATE))
        except TimeoutError as error:
            raise CalibrationError(
                f"The chat template of the model cannot render a chat of {name}: "
                f"{error}.",
                "Choose a column with text, or another model.",
            ) from error
        except TEMPLATE_ERRORS as error:
            reason = reason or first_line_of(error)
    if not texts:
        raise CalibrationError(
            f"The chat template of the model can render none of the chats in {name} "
            f"({reason}).",
            'A chat is a list of messages such as {"role": "user", "content": "Hi"}, '
            "with the roles that the model's template knows.",
        )
    return texts


def opening_of_chats(tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """Return the tokens of a chat up to the first word of the user; empty if unknown.

    It is unknown where there is no template, or none that renders a user's message.
    """
    if tokenizer is None or not tokenizer.chat_template:
        return []
    message = {"role": "user", "content": _MARKER}
    try:
        before, marker, _ = render([message], tokenizer, date_string=_DATE).partition(
            _MARKER
        )
    except TEMPLATE_ERRORS:
        return []
    if not marker:
        return []
    # A space before a word belongs to the token of the word.
    opening = tokenizer(before.rstrip(" "), add_special_tokens=False).input_ids
    beginning = beginning_of_texts(tokenizer)
    if opening[: len(beginning)] != beginning:
        opening = beginning + opening
    return list(opening) if opening != beginning else []


def messages_of(chat: Any) -> list[dict[str, str]]:
    """Return a chat as a list of messages with role and content.

    Raises:
        ValueError: It is something else, or has no messages.
    """
    if not isinstance(chat, list) or not chat:
        raise ValueError("it is no list of messages" if chat else "it has no messages")
    return [_message(each) for each in chat]


def render(
    messages: list[dict[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    **options: bool | str,
) -> str:
    """Return the text of a chat, in which the template has put the special tokens.

    A template is code of the model's authors, in a sandbox that knows no time limit.

    Args:
        messages: the chat.
        tokenizer: has the template.
        options: further ones of `apply_chat_template`.

    Raises:
        Exception: one of `TEMPLATE_ERRORS`; the template cannot render the chat.
    """
    with time_limit(_SECONDS):
        text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    assert isinstance(text, str)
    return text


def _message(message: Any) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise ValueError("a message has no role")
    role = message.get("role") or message.get("from")
    content = message.get("content")
    if content is None:
        content = message.get("value")
    if not isinstance(role, str):
        raise ValueError("a message has no role")
    if not isinstance(content, str):
        raise ValueError("a message has no text")
    return {"role": _ROLES.get(role, role), "content": content}


def first_line_of(error: Exception) -> str:
    """Return the first line of the message of an error of a template."""
    lines = str(error).strip().splitlines()
    return (lines or [type(error).__name__])[0].rstrip(".")
