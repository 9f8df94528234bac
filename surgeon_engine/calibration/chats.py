"""Chats: lists of messages, rendered by the chat template of the model.

A message is {"role": "user", "content": "..."} or {"from": "human", "value": "..."}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.base.sentences import say
from surgeon_engine.model.chat_template import DATE, TEMPLATE_ERRORS, render
from surgeon_engine.runtime import fence

_ROLES = {"human": "user", "gpt": "assistant"}  # as templates call them
_CHATS_PER_SECOND = 20  # templates take milliseconds for one


def render_chats(
    column: str, file: str, chats: Sequence[Any], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Return the texts of the chats that the template of a model can render.

    `column` and `file` name where they stand, in error messages.

    Raises:
        CalibrationError: There is no template, or it can render none of the chats.
    """
    name = say("the column {column:shown} of {file}", column=column, file=file)
    if not tokenizer.chat_template:
        raise CalibrationError(
            "There are chats in {name}, but the model has no chat template to render "
            "them.",
            "Use a model that was trained on chats, or choose a column with text.",
            name=name,
        )
    texts, reason = [], ""
    rate = fence.MinimumRate(_CHATS_PER_SECOND, say("chats"))
    for chat in chats:
        try:
            rate.count(1)
            texts.append(render(messages_of(chat), tokenizer, date_string=DATE))
        except TimeoutError as error:
            raise CalibrationError(
                "The chat template of the model cannot render a chat of {name}: "
                "{error:clause}.",
                "Choose a column with text, or another model.",
                name=name,
                error=error,
            ) from error
        except TEMPLATE_ERRORS as error:
            reason = reason or fence.describe(error)
    if not texts:
        raise CalibrationError(
            "The chat template of the model can render none of the chats in {name} "
            "({reason}).",
            'A chat is a list of messages such as {{"role": "user", "content": '
            '"Hi"}}, with the roles that the model\'s template knows.',
            name=name,
            reason=reason,
        )
    return texts


def messages_of(chat: Any) -> list[dict[str, str]]:
    """Return a chat as a list of messages with role and content.

    Raises:
        ValueError: It is something else, or has no messages.
    """
    if not isinstance(chat, list) or not chat:
        raise ValueError(
            say("it is no list of messages") if chat else say("it has no messages")
        )
    return [_message(each) for each in chat]


def _message(message: Any) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise ValueError(say("a message has no role"))
    role = message.get("role") or message.get("from")
    content = message.get("content")
    if content is None:
        content = message.get("value")
    if not isinstance(role, str):
        raise ValueError(say("a message has no role"))
    if not isinstance(content, str):
        raise ValueError(say("a message has no text"))
    return {"role": _ROLES.get(role, role), "content": content}
